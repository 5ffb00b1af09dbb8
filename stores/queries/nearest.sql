-- Which films are most like the first one, and whose are they?
SELECT n.store, n.item_id, round(n.cosine, 4) AS cosine, i.patient_id, i.view
FROM nearest('embeddings', (SELECT min(item_id) FROM embeddings WHERE section = 'image'), k := 5) n
JOIN images i ON i.dataset = n.dataset AND i.image_id = n.item_id
ORDER BY n.store, n.cosine DESC;
