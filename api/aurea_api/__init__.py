"""The HTTP API of aurea-celery: a Flask blueprint for any app, and an app of its own."""
