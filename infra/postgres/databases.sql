-- Runs once, on an empty data volume. \getenv keeps the passwords off the command line.
\getenv prefect_password PREFECT_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
\getenv ledger_password LEDGER_DB_PASSWORD

CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE DATABASE prefect OWNER prefect;
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE ROLE ratchet LOGIN PASSWORD :'ledger_password';
CREATE DATABASE ratchet OWNER ratchet;

-- By default every role may connect to every database.
REVOKE CONNECT ON DATABASE prefect, mlflow, ratchet FROM PUBLIC;

\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
