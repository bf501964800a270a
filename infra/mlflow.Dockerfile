FROM python:3.11-slim

ENV DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    PYTHONUNBUFFERED=1

COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir -c /tmp/constraints.txt boto3 "mlflow[auth]" "psycopg[binary]" \
    && useradd --create-home --uid 1001 mlflow \
    && mkdir -p /artifacts \
    && chown mlflow:mlflow /artifacts

USER mlflow
VOLUME ["/artifacts"]
ENTRYPOINT ["mlflow"]
