#!/usr/bin/env python3
"""Charges an order once, however often it has to ask, and however often it is run.

Usage: retry.py [URL [KEY_FILE]]
"""
import http.client, json, random, sys, time, urllib.error, urllib.request, uuid


# region execute
def execute(url, key, body, patience=120):
    """Has the operation executed at most once and returns its result. Every try has the same key and the same body."""
    headers = {"Idempotency-Key": key, "Content-Type": "application/json", "Prefer": "wait=30"}
    deadline, backoff = time.monotonic() + patience, 1
    while (left := deadline - time.monotonic()) > 0:
        request = urllib.request.Request(url + "/v1/idempotency/execute", body, headers)
        status, advice, after = 0, None, ""
        try:
            try:
                reply = urllib.request.urlopen(request, timeout=min(left, 40))
            except urllib.error.HTTPError as error:
                reply = error
            with reply:
                answer = json.load(reply)
            status, advice, after = reply.status, reply.headers["Idempotency-Retry"], reply.headers["Retry-After"] or ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer = error  # none, or not one of the service: it may have happened, so ask again
        if status == 200:
            return answer["result"]
        if advice == "no":  # this answer will not change
            raise RuntimeError(f"refused: {answer}")
        if advice == "poll" and not after:  # nor will this one, by itself
            raise RuntimeError(f"It may have happened. A person has to find out; do not try with another key. {answer}")
        if not after.isdigit():
            after, backoff = backoff, min(2 * backoff, 16)
        time.sleep(min(int(after) + random.random() / 2, max(0, deadline - time.monotonic())))
    raise TimeoutError(f"Not known yet. It may have happened: run this again, with the same key. {answer}")
# endregion


def stored_key(file):
    """One key for one charge, stored before the first try. An application keeps it in the row of the order."""
    try:
        with open(file, "x") as f:
            f.write(str(uuid.uuid4()))
    except FileExistsError:
        pass
    with open(file) as f:
        return f.read().strip()


url, key_file = (sys.argv[1:] + ["http://127.0.0.1:8080", "order-1042.key"][len(sys.argv) - 1:])[:2]
order = b'{"operation":"payment.charge","payload":{"order":1042,"amount":4200,"currency":"EUR"}}'
try:
    print(json.dumps(execute(url, stored_key(key_file), order)))
except (RuntimeError, TimeoutError) as error:
    sys.exit(str(error))
