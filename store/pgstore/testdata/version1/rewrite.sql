WITH mine AS (SELECT r.scope, r.key, i.n FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS i(scope, key, version, n)
	JOIN atmost_records r ON r.scope = i.scope AND r.key = i.key AND r.version = i.version FOR UPDATE OF r SKIP LOCKED), new AS (SELECT * FROM unnest($4::smallint[], $5::smallint[], $6::smallint[], $7::integer[], $8::bytea[],
		$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]) WITH ORDINALITY
		AS i(state, settled_by, not_kept, status, message, updated_at, deadline, result_expires, key_expires, due, n))
	UPDATE atmost_records r SET version = r.version + 1, state = new.state, settled_by = new.settled_by, not_kept = new.not_kept,
		upstream_status = new.status, message = new.message, result = NULL, updated_at = new.updated_at, deadline = new.deadline,
		result_expires = new.result_expires, key_expires = new.key_expires, due = new.due
	FROM mine JOIN new ON new.n = mine.n WHERE r.scope = mine.scope AND r.key = mine.key RETURNING r.scope, r.key
