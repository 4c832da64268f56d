UPDATE atmost_records r SET version = r.version + 1, state = $4::smallint, settled_by = 0, not_kept = $5::smallint,
		upstream_status = $6::integer, message = $7::bytea, result = $8::bytea, updated_at = (date_part('epoch', statement_timestamp()) * 1000000)::bigint, deadline = least(r.deadline, (date_part('epoch', statement_timestamp()) * 1000000)::bigint),
		result_expires = CASE WHEN $4::smallint IN (2, 3) THEN (date_part('epoch', statement_timestamp()) * 1000000)::bigint + r.result_retention / 1000 ELSE 0 END,
		key_expires = (date_part('epoch', statement_timestamp()) * 1000000)::bigint + greatest(r.key_retention, r.result_retention) / 1000,
		due = CASE WHEN $9::boolean AND r.result_retention / 1000 < r.key_retention / 1000 THEN (date_part('epoch', statement_timestamp()) * 1000000)::bigint + r.result_retention / 1000
			ELSE (date_part('epoch', statement_timestamp()) * 1000000)::bigint + greatest(r.key_retention, r.result_retention) / 1000 + 60000000 END
	WHERE r.scope = $1::text AND r.key = $2::text AND r.token = $3::bytea AND r.state = 1 AND r.deadline > (date_part('epoch', clock_timestamp()) * 1000000)::bigint RETURNING (date_part('epoch', statement_timestamp()) * 1000000)::bigint, r.scope, r.key, r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, NULL::bytea
