#!/usr/bin/env bash
# Runs a command at most once for a key, wherever and however often it is called, and prints what the command printed.
# Usage: lease.sh URL KEY COMMAND [ARGUMENT...]
#
# By its exit status the command says what happened: 0 it is done, 65 it failed for good, 75 it surely did nothing. Anything else
# may have had its effect. It gets as much time as its lease has, which is not renewed.
set -u
url=$1 key=$2 && shift 2
lease=300    # seconds
patience=120 # seconds without an answer that counts

dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT || exit 1
fail() { echo "$@" "$(cat "$dir/answer")" >&2; exit 1; }
header() { awk -F ': *' -v name="$1" 'tolower($1) == name { sub(/\r$/, ""); print $2 }' "$dir/head"; }
member() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" "$dir/answer"; }
draw() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; } # 128 random bits

# Makes one of the calls. The answer is in a file; its status, and the advice that comes with it, in variables.
call() { # NAME BODY
  printf %s "$2" >"$dir/body"
  if ! status=$(curl --silent --show-error --max-time 40 \
    --header "Idempotency-Key: $key" --header 'Content-Type: application/json' --header 'Prefer: wait=30' \
    --data-binary "@$dir/body" --dump-header "$dir/head" --output "$dir/answer" --write-out '%{http_code}' \
    "$url/v1/idempotency/$1" 2>"$dir/error"); then
    status=0 && mv "$dir/error" "$dir/answer" && : >"$dir/head"
  fi
  advice=$(header idempotency-retry) after=$(header retry-after)
  [ "$advice" ] || status=0 advice=same-key after='' # no answer, or not one of the service: it may have been done
}

# Waits for as long as the last answer advises.
pause() {
  case $after in '' | *[!0-9]*) after=$backoff backoff=$((backoff < 16 ? 2 * backoff : 16)) ;; esac
  sleep "$after.$((RANDOM % 5))"
}

# Tells how the attempt ended, until that was heard: the same report can be repeated, also after the end of the lease.
report() { # NAME BODY
  local deadline=$((SECONDS + patience))
  backoff=1
  while call "$1" "$2" && [ "$status" != 200 ]; do
    [ "$advice" = same-key ] && ((SECONDS < deadline)) || fail 'How it ended could not be told:'
    pause
  done
}

command=$(printf '%s\0' "$@" | sha256sum | cut -d ' ' -f 1)
token=$(draw) backoff=1 deadline=$((SECONDS + patience))
while
  begun=$SECONDS
  call claim '{"operation":"command.run","payload":{"command":"'"$command"'"},"lease":"'"$lease"'s","lease_token":"'"$token"'"}'
  [ "$status" != 201 ] && [ "$status" != 200 ]
do
  [ "$advice" != no ] || fail 'refused:' # this answer will not change
  [ "$advice" != poll ] || [ "$after" ] || # nor will this one, by itself
    fail 'It may have happened. A person has to find out; do not try with another key.'
  # Nothing happened so far: another attempt takes another token.
  [ "$(member code)" != EXECUTION_NOT_STARTED ] || token=$(draw)
  if ((SECONDS >= deadline)); then
    # An answer that was lost may have been a lease: nobody is to wait for its end.
    mv "$dir/answer" "$dir/last"
    call fail '{"lease_token":"'"$token"'","error":{"code":"late","message":"nothing was begun"},"executed":"no"}'
    mv "$dir/last" "$dir/answer"
    fail 'Not known yet: run this again, with the same key.'
  fi
  pause
done

if [ "$status" = 201 ]; then
  # Counted from before it was asked for, and with time to spare.
  expires=$(member expires_in) && left=$((begun + ${expires%.*} - SECONDS - 10))
  if ((left > 0)); then
    # A target that can refuse what comes late does so by the fence.
    IDEMPOTENCY_FENCE=$(member fence) timeout --kill-after=5 "$left" "$@" >"$dir/printed"
    ended=$?
  else
    ended=75
  fi
  error='"error":{"code":"exit_'$ended'","message":"the command said so"}'
  case $ended in
  0) report complete '{"lease_token":"'"$token"'","result":{"stdout":"'"$(head -c 500000 "$dir/printed" | base64 | tr -d '\n')"'"}}' ;;
  65) report fail '{"lease_token":"'"$token"'",'"$error"',"executed":"yes"}' && fail 'It failed for good.' ;;
  75) report fail '{"lease_token":"'"$token"'",'"$error"',"executed":"no"}' && fail 'Nothing happened: run this again, with the same key.' ;;
  *) report fail '{"lease_token":"'"$token"'",'"$error"',"executed":"unknown"}' &&
    fail 'It may have happened. A person has to find out; do not try with another key.' ;;
  esac
  head -c 500000 "$dir/printed"
else
  member stdout | base64 -d
fi
