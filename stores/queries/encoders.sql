-- Which encoder of films is best over all collections? Of each collection the newest comparison that `cxremb ablate
-- --encoders all` made with one kind of arm: AUROC, its rank there (1 is the best) and the mean rank over collections,
-- of the encoders that stand in all of these comparisons.
WITH tested AS (SELECT run_id, count(DISTINCT item_id) AS films FROM predictions WHERE part = 'test' GROUP BY run_id),
figures AS (
    SELECT dataset, label_set, split, seeds, films, created, split_part(stores[1], ' ', 1) AS encoder,
        replace(replace(regexp_replace(arm, 'encoder=[^],]*,?', ''), ',]', ']'), '[]', '') AS arm,
        value AS auroc, low, high
    FROM runs JOIN tested USING (run_id) JOIN metrics USING (run_id)
    WHERE len(stores) = 1 AND text IS NULL AND trained_on IS NULL AND NOT leaky AND part = 'test' AND metric = 'auroc'
    -- one label, or the mean of several
    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY label = 'macro' DESC, label) = 1
),
one_each AS (
    SELECT * FROM figures
    QUALIFY row_number() OVER (
        PARTITION BY dataset, label_set, split, seeds, films, arm, encoder ORDER BY created DESC) = 1
),
compared AS (  -- the newest of each collection in which there are two encoders
    SELECT dataset, label_set, split, seeds, films, arm FROM one_each
    GROUP BY dataset, label_set, split, seeds, films, arm HAVING count(*) > 1
    QUALIFY row_number() OVER (PARTITION BY dataset, arm ORDER BY max(created) DESC) = 1
),
side_by_side AS (SELECT * FROM one_each SEMI JOIN compared USING (dataset, label_set, split, seeds, films, arm)),
everywhere AS (
    SELECT arm, encoder FROM side_by_side JOIN (SELECT arm, count(*) AS collections FROM compared GROUP BY arm) USING (arm)
    GROUP BY arm, encoder, collections HAVING count(*) = collections
),
ranked AS (
    SELECT *, rank() OVER (PARTITION BY dataset, arm ORDER BY auroc DESC) AS rank
    FROM side_by_side SEMI JOIN everywhere USING (arm, encoder)
)
SELECT arm, encoder, round(avg(rank) OVER (PARTITION BY arm, encoder), 2) AS mean_rank, dataset, label_set, rank,
    auroc, low, high, films
FROM ranked
ORDER BY arm, mean_rank, encoder, dataset;
