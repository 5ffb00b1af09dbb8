-- Does a run do worse on one view than on another? Test accuracy at 0.5 per view, beside always answering the majority.
SELECT r.arm, p.run_id, coalesce(i.view, 'unknown') AS view, count(*) AS n, avg(p.y_true) AS prevalence,
       avg(((p.y_prob >= 0.5) = (p.y_true = 1))::INTEGER) AS accuracy,
       greatest(avg(p.y_true), 1 - avg(p.y_true)) AS majority
FROM predictions p
JOIN runs r USING (run_id, dataset)
JOIN images i ON i.dataset = p.dataset AND i.image_id = p.item_id
WHERE p.part = 'test'
GROUP BY ALL
ORDER BY r.arm, p.run_id, accuracy;
