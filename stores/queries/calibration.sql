-- How often does each tenth of the predicted probabilities come true on test rows?
SELECT r.arm, p.run_id, p.label, least(floor(p.y_prob * 10), 9) / 10 AS from_probability, count(*) AS rows,
       round(avg(p.y_prob), 3) AS predicted, round(avg(p.y_true), 3) AS observed
FROM predictions p
JOIN runs r USING (run_id, dataset)
WHERE p.part = 'test'
GROUP BY ALL
ORDER BY ALL;
