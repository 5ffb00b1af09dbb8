-- Who is in each part of each fold: studies, patients and, for every label set, the share of positives.
SELECT s.dataset, s.split, s.repeat, s.fold, s.part, l.label_set, l.label, count(DISTINCT s.study_id) AS studies,
       count(DISTINCT s.patient_id) AS patients, round(avg(l.value), 3) AS prevalence
FROM splits s
JOIN labels l USING (dataset, study_id)
GROUP BY ALL
ORDER BY ALL;
