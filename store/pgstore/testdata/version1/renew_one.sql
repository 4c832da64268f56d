UPDATE atmost_records r SET version = r.version + 1, deadline = (date_part('epoch', statement_timestamp()) * 1000000)::bigint + $4::bigint, updated_at = (date_part('epoch', statement_timestamp()) * 1000000)::bigint
	WHERE r.scope = $1::text AND r.key = $2::text AND r.token = $3::bytea AND r.state = 1 AND r.deadline > (date_part('epoch', clock_timestamp()) * 1000000)::bigint
		AND r.deadline < (date_part('epoch', statement_timestamp()) * 1000000)::bigint + $4::bigint
	RETURNING (date_part('epoch', statement_timestamp()) * 1000000)::bigint, r.scope, r.key, r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.result
