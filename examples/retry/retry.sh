#!/usr/bin/env bash
# Charges an order once, however often it has to ask, and however often it is run.
# Usage: retry.sh [URL [KEY_FILE]]
set -u
url=${1:-http://127.0.0.1:8080} key_file=${2:-order-1042.key}
body='{"operation":"payment.charge","payload":{"order":1042,"amount":4200,"currency":"EUR"}}'

# One key for one charge, stored before the first try. An application keeps it in the row of the order.
[ -e "$key_file" ] || (set -C && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$key_file")
key=$(cat "$key_file") || exit 1

fail() { echo "$@" "$(cat "$dir/answer")" >&2; exit 1; }
header() { awk -F ': *' -v name="$1" 'tolower($1) == name { sub(/\r$/, ""); print $2 }' "$dir/head"; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT || exit 1
deadline=$((SECONDS + 120)) backoff=1
while left=$((deadline - SECONDS)) && ((left > 0)); do
  # Every try has the same key and the same body.
  if status=$(curl --silent --show-error --max-time $((left < 40 ? left : 40)) \
    --header "Idempotency-Key: $key" --header 'Content-Type: application/json' --header 'Prefer: wait=30' \
    --data "$body" --dump-header "$dir/head" --output "$dir/answer" --write-out '%{http_code}' \
    "$url/v1/idempotency/execute" 2>"$dir/error"); then
    advice=$(header idempotency-retry) after=$(header retry-after)
  else # no answer: it may have happened
    status=0 advice='' after='' && mv "$dir/error" "$dir/answer"
  fi
  [ "$status" != 200 ] || { cat "$dir/answer" && echo && exit; }
  [ "$advice" != no ] || fail 'refused:' # this answer will not change
  [ "$advice" != poll ] || [ "$after" ] || # nor will this one, by itself
    fail 'It may have happened. A person has to find out; do not try with another key.'
  case $after in '' | *[!0-9]*) after=$backoff backoff=$((backoff < 16 ? 2 * backoff : 16)) ;; esac
  left=$((deadline - SECONDS))
  sleep "$((after < left ? after : left > 0 ? left : 0)).$((RANDOM % 5))"
done
fail 'Not known yet. It may have happened: run this again, with the same key.'
