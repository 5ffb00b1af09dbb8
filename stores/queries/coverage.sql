-- Is every film and report in a store, what failed, and is anything out of date?
SELECT s.dataset, s.store, s.version, s.rows, s.failed, s.stale, f.stage, f.message, count(f.item_id) AS items
FROM stores s
LEFT JOIN failures f USING (dataset, store)
GROUP BY ALL
ORDER BY s.dataset, s.store, items DESC;
