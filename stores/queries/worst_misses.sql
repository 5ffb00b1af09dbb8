-- Which test rows is each run most wrong about, and what does their report say?
SELECT r.arm, p.item_id, p.study_id, p.y_true, p.y_prob, t.text AS impression
FROM predictions p
JOIN runs r USING (run_id, dataset)
LEFT JOIN reports t ON t.dataset = p.dataset AND t.study_id = p.study_id AND t.section = 'impression'
WHERE p.part = 'test'
QUALIFY row_number() OVER (PARTITION BY p.run_id ORDER BY abs(p.y_true - p.y_prob) DESC, p.item_id) <= 10
ORDER BY r.arm, abs(p.y_true - p.y_prob) DESC;
