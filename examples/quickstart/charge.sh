curl -si http://127.0.0.1:8080/v1/idempotency/execute \
  -H 'Idempotency-Key: order-1' \
  -H 'Content-Type: application/json' \
  -d '{"operation":"payment.charge","payload":{"amount":4200,"currency":"EUR"}}'
