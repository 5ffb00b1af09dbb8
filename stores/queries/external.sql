-- What is left of a figure elsewhere? The newest of each pair, concept and arm (the head, and how it was judged): AUROC
-- there, inside, the drop with its 95% interval, sensitivity and specificity there at thresholds from the training
-- collection.
SELECT trained_on, dataset AS tested_on, concept,
    any_value(value) FILTER (metric = 'auroc') AS auroc,
    any_value(value) FILTER (metric = 'inside') AS inside,
    any_value(value) FILTER (metric = 'drop') AS lost,
    any_value(low) FILTER (metric = 'drop') AS lost_low,
    any_value(high) FILTER (metric = 'drop') AS lost_high,
    any_value(value) FILTER (metric = 'sensitivity') AS sensitivity,
    any_value(value) FILTER (metric = 'specificity') AS specificity,
    any_value(value) FILTER (metric = 'site') AS site,
    arm, run_id
FROM external
GROUP BY trained_on, dataset, concept, arm, run_id, created
QUALIFY row_number() OVER (PARTITION BY trained_on, dataset, concept, arm ORDER BY created DESC, run_id DESC) = 1
ORDER BY trained_on, tested_on, arm, concept;
