(SELECT (date_part('epoch', statement_timestamp()) * 1000000)::bigint, r.scope, r.key, r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.result FROM atmost_records r
	WHERE r.state = 1 AND r.deadline <= (date_part('epoch', statement_timestamp()) * 1000000)::bigint ORDER BY r.deadline LIMIT $1)
	UNION ALL (SELECT (date_part('epoch', statement_timestamp()) * 1000000)::bigint, r.scope, r.key, r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.result FROM atmost_records r
	WHERE r.due IS NOT NULL AND r.due <= (date_part('epoch', statement_timestamp()) * 1000000)::bigint ORDER BY r.due LIMIT $1) LIMIT $1
