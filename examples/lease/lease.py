#!/usr/bin/env python3
"""Runs a command at most once for a key, wherever and however often it is called, and prints what the command printed.

Usage: lease.py URL KEY COMMAND [ARGUMENT...]

By its exit status the command says what happened: 0 it is done, 65 it failed for good, 75 it surely did nothing. Anything else may
have had its effect.
"""
import base64, contextlib, hashlib, http.client, json, os, random, secrets, signal
import subprocess, sys, threading, time, urllib.error, urllib.request

LEASE = 30  # seconds; renewed while the command runs
PATIENCE = 120  # seconds without an answer that counts


# region call
def call(url, name, key, body, timeout=10, **headers):
    """Makes one of the calls. Returns the status, the answer, what Idempotency-Retry advises and after how many seconds."""
    headers = {"Idempotency-Key": key, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{url}/v1/idempotency/{name}", json.dumps(body).encode(), headers)
    try:
        try:
            reply = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            reply = error
        with reply:
            answer, after = json.load(reply), reply.headers["Retry-After"]
        if advice := reply.headers["Idempotency-Retry"]:
            return reply.status, answer, advice, int(after) if after else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer = error
    return 0, answer, "same-key", None  # none, or not one of the service: what was asked may have been done


# endregion


# region claim
def claim(url, key, operation, payload):
    """Claims the key. Returns a lease, and when it ends, or else the result that there is."""
    token, backoff, deadline = secrets.token_hex(16), 1, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        sent = time.monotonic()
        body = {"operation": operation, "payload": payload, "lease": f"{LEASE}s", "lease_token": token}
        status, answer, advice, after = call(url, "claim", key, body, timeout=40, Prefer="wait=30")
        if status == 201:
            return answer["lease"], sent + answer["lease"]["expires_in"], None  # counted from before it was asked for
        if status == 200:
            return None, 0, answer["result"]
        if advice == "no":  # this answer will not change
            raise RuntimeError(f"refused: {answer}")
        if advice == "poll" and after is None:  # nor will this one, by itself
            raise RuntimeError(f"It may have happened. A person has to find out; do not try with another key. {answer}")
        if status == 503 and answer["error"]["code"] == "EXECUTION_NOT_STARTED":
            token = secrets.token_hex(16)  # nothing happened so far: another attempt takes another token
        if after is None:
            after, backoff = backoff, min(2 * backoff, 16)
        time.sleep(after + random.random() / 2)
    # An answer that was lost may have been a lease: nobody is to wait for its end.
    call(url, "fail", key, {"lease_token": token, "error": {"code": "late", "message": "nothing was begun"}, "executed": "no"})
    raise TimeoutError(f"Not known yet: run this again, with the same key. {answer}")


# endregion


# region renew
def keep(url, key, token, ends, done, lost):
    """Renews a lease until done is set. Sets lost when it has ended."""
    while not done.wait(min(LEASE / 3, max(0, ends - time.monotonic()))):
        sent = time.monotonic()
        status, answer, advice, _ = call(url, "renew", key, {"lease_token": token, "lease": f"{LEASE}s"}, timeout=LEASE / 3)
        if status == 200:
            ends = sent + answer["expires_in"]
        if advice != "same-key" and status != 200 or time.monotonic() >= ends:
            lost.set()
            return


# endregion


# region report
def report(url, name, key, body):
    """Tells how an attempt ended, until that was heard: the same report can be repeated, also after the end of the lease."""
    deadline, backoff = time.monotonic() + PATIENCE, 1
    while True:
        status, answer, advice, _ = call(url, name, key, body)
        if status == 200:
            return answer
        if advice != "same-key" or time.monotonic() > deadline:
            raise RuntimeError(f"How it ended could not be told: {answer}")
        time.sleep(backoff + random.random() / 2)
        backoff = min(2 * backoff, 16)


# endregion


def run(command, lease, lost):
    """Runs the command, and kills it if its lease is lost. Returns its exit status and what it printed."""
    fence = {"IDEMPOTENCY_FENCE": str(lease["fence"])}  # for a target that can refuse what comes late
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **fence}, start_new_session=True)
    while not lost.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            printed, _ = process.communicate(timeout=0.1)
            return process.returncode, printed
    os.killpg(process.pid, signal.SIGKILL)  # with all that it started
    printed, _ = process.communicate()
    return process.returncode, printed


def main(url, key, *command):
    payload = {"command": hashlib.sha256("".join(word + "\0" for word in command).encode()).hexdigest()}
    lease, ends, result = claim(url, key, "command.run", payload)
    if lease:
        done, lost, token = threading.Event(), threading.Event(), lease["token"]
        threading.Thread(target=keep, args=(url, key, token, ends, done, lost), daemon=True).start()
        status, printed = run(command, lease, lost) if time.monotonic() < ends else (75, b"")
        done.set()
        if status == 0:
            result = {"stdout": base64.b64encode(printed[:500_000]).decode()}
            report(url, "complete", key, {"lease_token": token, "result": result})
        else:
            executed = {65: "yes", 75: "no"}.get(status, "unknown")
            error = {"code": f"exit_{status}", "message": "the command said so" if executed != "unknown" else "the command was broken off"}
            report(url, "fail", key, {"lease_token": token, "error": error, "executed": executed})
            raise RuntimeError({
                "yes": "It failed for good.", "no": "Nothing happened: run this again, with the same key.",
                "unknown": "It may have happened. A person has to find out; do not try with another key.",
            }[executed])
    sys.stdout.buffer.write(base64.b64decode(result["stdout"]))


try:
    main(*sys.argv[1:])
except (RuntimeError, TimeoutError) as error:
    sys.exit(str(error))
