-- How is each label spread over the studies?
SELECT dataset, label_set, label, count(*) FILTER (value = 1) AS positive, count(*) AS labelled,
       round(avg(value), 3) AS prevalence
FROM labels
GROUP BY ALL
ORDER BY dataset, label_set, positive DESC, label;
