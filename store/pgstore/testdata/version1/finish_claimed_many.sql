UPDATE atmost_records r SET version = r.version + 1, state = i.state, settled_by = 0, not_kept = i.not_kept,
		upstream_status = i.status, message = i.message, result = i.result, updated_at = (date_part('epoch', statement_timestamp()) * 1000000)::bigint, deadline = least(r.deadline, (date_part('epoch', statement_timestamp()) * 1000000)::bigint),
		result_expires = CASE WHEN i.state IN (2, 3) THEN (date_part('epoch', statement_timestamp()) * 1000000)::bigint + r.result_retention / 1000 ELSE 0 END,
		key_expires = (date_part('epoch', statement_timestamp()) * 1000000)::bigint + greatest(r.key_retention, r.result_retention) / 1000,
		due = CASE WHEN i.drops AND r.result_retention / 1000 < r.key_retention / 1000 THEN (date_part('epoch', statement_timestamp()) * 1000000)::bigint + r.result_retention / 1000
			ELSE (date_part('epoch', statement_timestamp()) * 1000000)::bigint + greatest(r.key_retention, r.result_retention) / 1000 + 60000000 END
	FROM unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::smallint[], $6::integer[], $7::bytea[],
		$8::bytea[], $9::boolean[]) WITH ORDINALITY AS i(scope, key, token, state, not_kept, status, message, result, drops, n)
	WHERE r.scope = i.scope AND r.key = i.key AND r.token = i.token AND r.state = 1 AND r.deadline > (date_part('epoch', clock_timestamp()) * 1000000)::bigint RETURNING (date_part('epoch', statement_timestamp()) * 1000000)::bigint, i.n, r.contradictions, r.past
