SELECT (date_part('epoch', clock_timestamp()) * 1000000)::bigint, m.guarded_since, m.guard_version, m.timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
			EXISTS (SELECT FROM atmost_admitted a WHERE a.scope = $1 AND a.since = m.guarded_since), r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.result
			FROM atmost_meta m LEFT JOIN atmost_records r ON r.scope = $1 AND r.key = $2 WHERE m.id = 1
