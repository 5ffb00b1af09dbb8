-- On which test rows do two runs disagree most? Controls, which disagree with everything, are left out.
SELECT a.dataset, a.item_id, a.y_true, x.arm AS one, round(a.y_prob, 3) AS p_one, y.arm AS other,
       round(b.y_prob, 3) AS p_other
FROM predictions a
JOIN predictions b USING (dataset, item_id, repeat, fold, part, label)
JOIN runs x ON x.run_id = a.run_id
JOIN runs y ON y.run_id = b.run_id
WHERE a.part = 'test' AND a.run_id < b.run_id
  AND NOT starts_with(x.arm, 'control:') AND NOT starts_with(y.arm, 'control:')
ORDER BY abs(a.y_prob - b.y_prob) DESC, a.item_id
LIMIT 20;
