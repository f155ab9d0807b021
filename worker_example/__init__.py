"""A small Celery app that uses aurea-celery, and the demo that runs it: ``python -m worker_example.demo``.

The app summarises, extracts, classifies and embeds texts over a *simulated* language model (:mod:`.model`), or over
the real one with an API key in the environment (:mod:`.provider`). It is an example to read and to copy from; it is not
part of the package that is installed.
"""
