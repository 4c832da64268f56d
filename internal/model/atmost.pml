/*
 * The protocol by which an operation is executed at most once: one key, a store that two instances of the service share, two
 * clients, an upstream with a ledger, and all that can go wrong between them. docs/model.md tells what is left out, and which
 * function of the code each step here is.
 *
 * A d_step is one atomic step of the store (Store.Apply), or of the ghost that watches. Between two of them anything can happen.
 *
 * A configuration is a set of macros:
 *
 *   RETRY               on_unknown is retry, else hold
 *   ANY_OPERATOR        operators settle as they like, else they tell the truth about the attempt they looked at
 *   REQUESTS, LIVES, CRASHES, FAULTS, DRAINS, SETTLEMENTS
 *                       how often each can happen: the search is exhaustive within these
 *
 * and at most one defect, planted to see that a property fails: each #ifdef that is none of the above.
 */

#ifndef REQUESTS
#define REQUESTS 2 /* of each of the two clients */
#endif
#ifndef LIVES
#define LIVES 2 /* of the key: it is forgotten and used again once */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FAULTS
#define FAULTS 1 /* writes of which the store does not tell whether they happened */
#endif
#ifndef DRAINS
#define DRAINS 0 /* executions that a shutdown gives up while they run */
#endif
#ifndef SETTLEMENTS
#define SETTLEMENTS 1
#endif

#define TOKENS (2 * REQUESTS) /* each request draws one */
#define BIT(t) (1 << (t))
#define OPERATOR 15 /* in place of a token: the result is an operator's */

mtype = { absent, processing, completed, failed, not_executed, unknown }; /* State */
mtype = { report, nobody, resolve };                                      /* SettledBy */
mtype = { nothing, claim_sent, finish_sent };                             /* what the store has not done yet */

#define final(s) (s == completed || s == failed)

/* ---- the store ---- */

typedef Record {
	mtype state = absent;
	byte token;   /* of the newest attempt */
	byte attempt; /* from 1 */
	byte fence;   /* grows with every claim, also across forgetting */
	mtype by;     /* whose word the outcome is */
	bit print;    /* fingerprint of operation and payload */
	byte result;  /* the token under which it was reported, or OPERATOR */
	bool kept;    /* the result still is there: else a final record is a tombstone */
	byte past     /* earlier attempts whose late reports would be contradictions */
};

Record r;

typedef Write {
	mtype what = nothing;
	byte token;
	bit print;
	mtype outcome
};

Write later; /* a write that was ambiguous, and may happen yet */

/* ---- the world ---- */

chan ask = [0] of { bit };

byte tokens;              /* drawn so far */
byte hand[2];             /* the attempt that an instance may be about to send */
byte waiting[2];          /* the attempt whose response it waits for */
mtype response[2];        /* completed, failed, or none yet */
byte wire;                /* attempts whose request is on its way */
byte faults = FAULTS, crashes = CRASHES, drains = DRAINS;

/* ---- ghosts: they watch, and nothing depends on them but what is asserted ---- */

byte life = 1;                /* of the key */
byte effects[LIVES + 1];      /* the upstream's ledger, for each life of the key */
byte effected;                /* attempts that had their effect */
bit print_of[LIVES + 1];      /* what the key was claimed for */
byte life_of[TOKENS + 1];     /* when an attempt was claimed */
bit asked_with[TOKENS + 1];   /* its payload */
byte valid;                   /* tokens that were granted and have neither ended nor lapsed */
byte fence;                   /* the highest that was given */
byte presumed;                /* attempts taken for not executed without their own word */
byte seen;                    /* attempts of which the record has a contradiction */
byte revived;                 /* claims that happened after nobody knew whether they would */
bool wrong;                   /* an operator settled not_executed what had, or might still have, an effect */
mtype told[LIVES + 1];        /* the terminal outcome that a client was told */
byte told_result[LIVES + 1];

hidden mtype was_state;
hidden byte was_token, was_attempt, was_result;

#define may_happen(t) (hand[0] == t || hand[1] == t || (wire & BIT(t)))

/* What holds after every step of the store. */
inline promises()
{
	assert(told[life] == 0 || (r.state == told[life] && r.result == told_result[life]));
#ifndef RETRY
	assert(effects[life] == 0 || wrong || r.state == processing || r.state == unknown || final(r.state))
#endif
}

/* ---- the rules: transition.go ---- */

inline begin(tok, fp) /* Claim.start */
{
	assert(valid == 0);
	valid = valid | BIT(tok);
	presumed = presumed & ~BIT(tok);
	life_of[tok] = life;
	asked_with[tok] = fp;
	if
	:: r.state == absent && r.attempt == 0 -> print_of[life] = fp
	:: else
	fi;

	r.state = processing;
	r.token = tok;
	r.attempt++;
	r.fence++;
	r.by = report;
	r.print = fp;
	r.result = 0;

	assert(r.fence > fence);
	fence = r.fence
}

inline claim(tok, fp) /* Claim.apply */
{
	if
	:: r.state == absent -> begin(tok, fp)
#ifdef MISMATCH_RUNS
	:: r.state == not_executed && r.token != tok ->
#else
	:: r.state == not_executed && r.token != tok && r.print == fp ->
#endif
		if
#ifndef PAST_FORGOTTEN
		:: r.by != report -> r.past = r.past | BIT(r.token)
#endif
		:: else
		fi;
		begin(tok, fp)
	:: else
	fi
}

inline ended(out, whose, which) /* Record.ended, Record.doubted */
{
	valid = valid & ~BIT(r.token);
	if
	:: out == unknown ->
		r.by = nobody;
#ifdef RETRY
		r.state = not_executed;
		presumed = presumed | BIT(r.token)
#else
		r.state = unknown
#endif
	:: else ->
		r.state = out;
		r.by = whose;
		r.result = (final(out) -> which : 0);
		r.kept = final(out)
	fi
}

inline finish(tok, out) /* Finish.apply, Finish.stale */
{
	was_state = r.state; was_token = r.token; was_attempt = r.attempt; was_result = r.result;
	if
#ifdef FINISH_WITHOUT_TOKEN
	:: r.state == absent ->
#else
	:: r.state == absent || r.token != tok ->
#endif
		if
		:: final(out) && (r.past & BIT(tok)) -> r.past = r.past & ~BIT(tok); seen = seen | BIT(tok)
		:: else
		fi
	:: else ->
		if
		:: r.state == processing -> ended(out, report, tok)
		:: r.state != processing && r.by != report && out == unknown -> skip
		:: r.state == unknown && out != unknown -> ended(out, report, tok)
		:: r.state == not_executed && r.by != report && out != unknown ->
			if
			:: out != not_executed -> seen = seen | BIT(tok)
			:: else
			fi;
			ended(out, report, tok)
		:: final(r.state) && r.by != report && out != unknown ->
			if
			:: r.state != out ->
#ifdef REPORT_OVERRULES
				ended(out, report, tok);
#endif
				seen = seen | BIT(tok)
			:: else
			fi
		:: else /* its own word is there: repeated, or refused as ALREADY_FINISHED */
		fi
	fi;
	assert(was_token == tok && was_state != absent ||
		was_state == r.state && was_token == r.token && was_attempt == r.attempt && was_result == r.result)
}

inline settle(at, out) /* Resolve.apply */
{
	if
#ifdef SETTLES_ANY_ATTEMPT
	:: r.state == unknown ->
#else
	:: r.state == unknown && r.attempt == at ->
#endif
		if
		:: out == not_executed ->
			presumed = presumed | BIT(r.token);
			wrong = wrong || (effected & BIT(r.token)) || may_happen(r.token);
#ifndef ANY_OPERATOR
			assert(!wrong)
#endif
		:: else
		fi;
		ended(out, resolve, OPERATOR)
	:: else
	fi
}

inline forget() /* the end of key retention in Age; Forget.apply */
{
#ifndef RETRY
	assert(effects[life] == 0 || final(r.state) || wrong);
#endif
	r.state = absent;
	r.token = 0; r.attempt = 0; r.by = 0; r.print = 0; r.result = 0; r.kept = false; r.past = 0;
#ifdef FENCE_RESTARTS
	r.fence = 0;
#endif
	later.what = nothing; later.token = 0; later.print = 0; later.outcome = 0; /* no write takes longer than keys are kept */
	life++
}

/* Time: when a lease, a result's retention, or a key's ends is not told, so every moment is tried. What time has changed shows in
 * whatever reads next (Age), so it may as well be written down at once (Sweep). A Renew puts the end of a lease off, which any
 * moment covers; so does Restart, by which an embedded store has the leases of a dead process lapse at once. */
proctype Time()
{
end:	do
	:: d_step {
		r.state == processing ->
#ifdef LAPSE_RUNS_AGAIN
		ended(not_executed, nobody, 0);
#else
		ended(unknown, nobody, 0);
#endif
		promises()
	}
	:: d_step {
		final(r.state) && r.kept ->
#ifdef TOMBSTONE_FORGOTTEN
		r.state = absent; r.attempt = 0; r.token = 0;
#endif
		r.kept = false;
		promises()
	}
#ifdef UNKNOWN_FORGOTTEN
	:: d_step { (final(r.state) || r.state == not_executed || r.state == unknown) && life < LIVES -> forget() }
#else
	:: d_step { (final(r.state) || r.state == not_executed) && life < LIVES -> forget() }
#endif
	od
}

/* A write whose connection was cut: the database may still do it, or never. */
proctype Late()
{
	byte t;
	bit print;
	mtype o;
end:	do
	:: d_step {
		later.what != nothing ->
		t = later.token; print = later.print; o = later.outcome;
		if
		:: later.what == claim_sent -> claim(t, print); revived = revived | BIT(t)
		:: later.what == finish_sent -> finish(t, o)
		fi;
		promises();
		t = 0; print = 0; o = 0;
		later.what = nothing; later.token = 0; later.print = 0; later.outcome = 0
	}
	:: d_step { later.what != nothing -> later.what = nothing; later.token = 0; later.print = 0; later.outcome = 0 }
	od
}

/* ---- an instance of the service ---- */

inline look() /* the record that a step of the store returns */
{
	s = r.state; s_print = r.print; s_result = r.result; s_life = life;
	mine = (r.state != absent && r.token == t)
}

/* Store.Apply of a Claim: judged; or done, or to be done later or never, without anybody being told which. */
inline send_claim()
{
	if
#ifdef GET_THEN_PUT
	:: d_step {
		if
		:: free -> begin(t, print)
		:: else
		fi;
		look(); ambiguous = false; promises()
	}
#else
	:: d_step { claim(t, print); look(); ambiguous = false; promises() }
#endif
	:: d_step { faults > 0 -> faults--; claim(t, print); ambiguous = true; promises() }
	:: d_step {
		faults > 0 && later.what == nothing ->
		faults--; ambiguous = true;
		later.what = claim_sent; later.token = t; later.print = print
	}
	fi
}

/* Store.Apply of a Finish, and what execution.dropped makes of a refusal. */
inline judged(out)
{
	known = (r.token == t || (r.past & BIT(t)));
	finish(t, out);
	look();
	/* what was taken for not executed, and was, is a contradiction in the record; or if that is forgotten, an event of the engine's */
	assert(!(out == completed && (presumed & BIT(t))) || (seen & BIT(t)) || (won && !known && life_of[t] < life));
	known = false; ambiguous = false;
	promises()
}

inline send_finish(out)
{
	if
	:: d_step { judged(out) }
	:: d_step { faults > 0 -> faults--; finish(t, out); ambiguous = true; promises() }
	:: d_step {
		faults > 0 && later.what == nothing ->
		faults--; ambiguous = true;
		later.what = finish_sent; later.token = t; later.outcome = out
	}
	fi
}

/* The answer to the request, if somebody still waits: by the record s, which was read in an earlier step. */
inline answer()
{
	if
	:: answered || !final(s) -> skip /* processing, unknown, not_executed or absent: told as such, and nothing is promised */
#if defined(WAITER_UNCHECKED)
	:: !answered && final(s) && s_print != print && won -> skip
#elif defined(OWNER_UNCHECKED)
	:: !answered && final(s) && s_print != print && !won -> skip
#else
	:: !answered && final(s) && s_print != print -> skip /* PAYLOAD_MISMATCH, or OUTCOME_UNKNOWN to who made the attempt */
#endif
	:: else ->
		assert(s_print == print);
		assert(s_life < life || (r.state == s && r.result == s_result)); /* it is in the store */
		assert(told[s_life] == 0 || (told[s_life] == s && told_result[s_life] == s_result));
		told[s_life] = s;
		told_result[s_life] = s_result /* a tombstone's answer has no result, but names the outcome */
	fi;
	answered = true
}

/* At any step the process may be killed. What it sent is on its way, all that it knew is gone, and it is started again. */
#define or_dies :: atomic { crashes > 0 -> crashes--; dead = true; goto leaves }

proctype Instance(byte i)
{
	bit print, s_print;
	byte t, s_result, s_life;
	mtype s, o;
	bool mine, ambiguous, late, won, answered, known, free, dead;

end:	do
	:: atomic { ask?print -> tokens++; t = tokens };

#ifdef GET_THEN_PUT
		free = (r.state == absent || (r.state == not_executed && r.print == print));
#endif
claims:		if /* claiming.acquire, acquireLater, settleClaim */
		:: atomic {
			send_claim();
			if
#ifdef AMBIGUOUS_IS_WON
			:: ambiguous -> d_step { ambiguous = false; mine = true; s = processing; life_of[t] = life; asked_with[t] = print }
#endif
#ifdef AMBIGUOUS_IS_LOST
			:: ambiguous -> goto leaves
#else
			:: ambiguous -> goto claims
			:: ambiguous -> late = true; answered = true; goto claims /* its patience is over: STORE_UNAVAILABLE */
#endif
			:: else
			fi;
			if
			:: mine && s == processing && !late -> won = true; hand[i] = t
			:: mine && !(s == processing && !late) -> o = not_executed; goto ends /* execution.unused */
			:: !mine && s == processing -> goto waits
			:: !mine && s != processing -> goto answers
			fi
		}
		or_dies
		fi;

		if /* execution.perform: the fence in time */
		:: r.state == processing && r.token == t -> skip
#ifdef AMBIGUOUS_IS_WON
		:: r.token != t -> skip
#endif
		:: atomic { o = not_executed; hand[i] = 0; goto ends }
		or_dies
		fi;
		/* and here it may be paused for as long as it takes */
		if
		:: d_step { wire = wire | BIT(t); hand[i] = 0; waiting[i] = t }
		:: atomic { o = not_executed; hand[i] = 0; goto ends } /* not one byte left, or it was withdrawn */
		or_dies
		fi;

calls:		if
		:: d_step { response[i] != 0 -> o = response[i] }
		:: o = unknown /* a time-out, a reset, an answer that is not final */
		:: atomic { drains > 0 && !answered -> drains--; finish(t, unknown); answered = true; promises(); goto calls } /* execution.abandon */
		or_dies
		fi;
#ifdef SENDS_AGAIN
		if
		:: d_step { o == unknown -> wire = wire | BIT(t) }
		:: else
		fi;
#endif
#ifdef ANSWERS_FIRST
		d_step { s = o; s_print = print; s_result = t; s_life = life; answer() };
#endif

ends:		if /* execution.finish, Engine.insist */
		:: atomic {
			hand[i] = 0; waiting[i] = 0; response[i] = 0;
			send_finish(o);
			if
			:: ambiguous -> goto ends
			:: else -> goto answers
			fi
		}
		or_dies
		fi;

waits:		if /* Engine.told: until another's attempt has ended, or not so long */
		:: d_step { look() }
		:: skip
		or_dies
		fi;

answers:	if
		:: d_step { answer() }
		or_dies
		fi;

leaves:		atomic {
			assert(!(r.state == processing && r.token == t) || dead || (revived & BIT(t))); /* no lease stays behind it */
			hand[i] = 0; waiting[i] = 0; response[i] = 0;
			print = 0; s_print = 0; t = 0; s_result = 0; s_life = 0; s = 0; o = 0; mine = false; dead = false;
			ambiguous = false; late = false; won = false; answered = false; known = false; free = false
		}
	od
}

/* ---- everybody else ---- */

/* A client asks again whether or not it has an answer: one that waits is a special case. Which instance it gets is chance. */
proctype Client(bit print)
{
	ask!print;
#if REQUESTS > 1
	ask!print
#endif
}

inline arrives(k)
{
	wire = wire & ~BIT(k);
	if
	:: /* the effect */
		effects[life_of[k]]++;
		effected = effected | BIT(k);
		assert(asked_with[k] == print_of[life_of[k]]);
#ifndef RETRY
		assert(effects[life_of[k]] <= 1 || wrong);
#endif
		o = completed
	:: o = failed /* refused, finally */
	:: o = 0      /* lost */
	fi;
	if
	:: waiting[0] == k -> response[0] = o
	:: waiting[1] == k -> response[1] = o
	:: else
	fi;
	o = 0
}

proctype Upstream()
{
	mtype o;
end:	do
	:: atomic { wire & BIT(1) -> arrives(1) }
	:: atomic { wire & BIT(2) -> arrives(2) }
#if REQUESTS > 1
	:: atomic { wire & BIT(3) -> arrives(3) }
	:: atomic { wire & BIT(4) -> arrives(4) }
#endif
	od
}

/* An operator, or a probe, finds out what became of an attempt, and settles it some time later: but not when the key has been
 * forgotten and used again meanwhile. Attempts are counted from 1 again then, so that would settle another. */
#define finds(truth, outcome) d_step { o == 0 && n > 0 && r.state == unknown && (truth) -> n--; o = outcome; attempt = r.attempt; when = life }

proctype Operator()
{
	byte n = SETTLEMENTS, attempt, when;
	mtype o;
end:	do
#ifdef ANY_OPERATOR
	:: finds(true, completed)
	:: finds(true, failed)
	:: finds(true, not_executed)
#else
	:: finds(effected & BIT(r.token), completed)
	:: finds(!(effected & BIT(r.token)) && !may_happen(r.token), not_executed)
#endif
	:: d_step {
		o != 0 ->
		if
#ifndef SETTLES_ACROSS_LIVES
		:: when < life -> skip
#endif
		:: else -> settle(attempt, o)
		fi;
		attempt = 0; when = 0; o = 0; promises()
	}
	od
}

/* When nothing can happen any more. */
proctype End()
{
	timeout ->
	assert(r.state != processing)
}

init
{
	atomic {
		run Instance(0); run Instance(1);
		run Client(0);
		if
		:: run Client(0)
		:: run Client(1) /* with another payload */
		fi;
		run Upstream(); run Time(); run Late(); run Operator(); run End()
	}
}
