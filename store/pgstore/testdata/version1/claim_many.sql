WITH seen AS MATERIALIZED (
		SELECT i.s, i.k, i.o, i.a, i.d, i.tk, i.lease, i.rr, i.kr, i.ou, i.eb, r.*
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[], $8::bigint[],
			$9::bigint[], $10::smallint[], $11::smallint[]) AS i(s, k, o, a, d, tk, lease, rr, kr, ou, eb)
		LEFT JOIN LATERAL (SELECT * FROM atmost_records r WHERE r.scope = i.s AND r.key = i.k OFFSET 0) r ON true),
	made AS (
		INSERT INTO atmost_records (version, fence, deadline, created_at, updated_at, result_expires, key_expires, due, result_retention, key_retention, attempt, contradictions, upstream_status, state, settled_by, not_kept, on_unknown, executed_by, scope, key, operation, algorithm, digest, token, message, past, result)
		SELECT (date_part('epoch', statement_timestamp()) * 1000000)::bigint, (date_part('epoch', statement_timestamp()) * 1000000)::bigint, (date_part('epoch', statement_timestamp()) * 1000000)::bigint + n.lease, (date_part('epoch', statement_timestamp()) * 1000000)::bigint, (date_part('epoch', statement_timestamp()) * 1000000)::bigint, 0, 0, NULL, n.rr, n.kr, 1, 0, 0, 1, 0, 0, n.ou, n.eb,
			n.s, n.k, n.o, n.a, n.d, n.tk, NULL, NULL, NULL
		FROM seen n WHERE n.version IS NULL AND substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) = $12::text
		ON CONFLICT DO NOTHING RETURNING scope, key)
	SELECT (date_part('epoch', statement_timestamp()) * 1000000)::bigint, r.scope, r.key, r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.result FROM seen r WHERE r.version IS NOT NULL
	UNION ALL SELECT (date_part('epoch', statement_timestamp()) * 1000000)::bigint, made.scope, made.key, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::integer, NULL::integer, NULL::integer, NULL::smallint, NULL::smallint, NULL::smallint, NULL::smallint, NULL::smallint, NULL::text, NULL::text, NULL::bytea, NULL::bytea, NULL::bytea, NULL::bytea, NULL::bytea FROM made
