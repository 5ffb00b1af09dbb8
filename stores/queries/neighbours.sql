-- Which films of other patients look most alike to an image encoder? The closest pairs among the first 500 films.
WITH films AS (
    SELECT e.dataset, e.store, e.item_id, i.patient_id, e.embedding
    FROM embeddings e
    JOIN images i ON i.dataset = e.dataset AND i.image_id = e.item_id
    WHERE e.section = 'image'
    QUALIFY row_number() OVER (PARTITION BY e.dataset, e.store ORDER BY e.item_id) <= 500
)
SELECT a.dataset, a.store, a.item_id, b.item_id AS alike, cosine(a.embedding, b.embedding) AS similarity
FROM films a
JOIN films b ON a.dataset = b.dataset AND a.store = b.store AND a.patient_id < b.patient_id
ORDER BY similarity DESC
LIMIT 20;
