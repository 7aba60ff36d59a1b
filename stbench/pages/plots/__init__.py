"""Pictures of finished runs: functions of records, stored predictions and the truth of their cohort."""
