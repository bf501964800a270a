"""Create the workers' user in MLflow, or set its password: ``compose run --rm mlflow-user``."""

import os

from mlflow.exceptions import RestException
from mlflow.server import get_app_client


def main() -> None:
    """By the admin's login in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Raises:
        RestException: if MLflow refuses the login or the password.
    """
    client = get_app_client("basic-auth", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    name, password = os.environ["RATCHET_MLFLOW_USER"], os.environ["RATCHET_MLFLOW_PASSWORD"]
    try:
        client.create_user(name, password)
        print(f"created the user {name}")
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(name, password)
        print(f"set the password of the user {name}")


if __name__ == "__main__":
    main()
