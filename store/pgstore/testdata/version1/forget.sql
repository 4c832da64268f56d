WITH mine AS (SELECT r.scope, r.key, i.n FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS i(scope, key, version, n)
	JOIN atmost_records r ON r.scope = i.scope AND r.key = i.key AND r.version = i.version FOR UPDATE OF r SKIP LOCKED)
	DELETE FROM atmost_records r USING mine WHERE r.scope = mine.scope AND r.key = mine.key RETURNING r.scope, r.key
