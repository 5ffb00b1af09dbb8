-- How well does each arm do on test rows? The newest run of each arm, with its 95% interval.
SELECT r.dataset, r.arm, m.label, m.metric, m.value, m.low, m.high, r.run_id, r.note
FROM metrics m
JOIN runs r USING (run_id)
WHERE m.part = 'test'
  AND m.metric IN ('auroc', 'accuracy', 'f1')
  AND r.created = (SELECT max(created) FROM runs newer WHERE newer.dataset = r.dataset AND newer.arm = r.arm)
ORDER BY r.dataset, m.label, m.metric, r.arm;
