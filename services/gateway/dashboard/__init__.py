"""The dashboard: a web page without a build step that reads the JSON API, and the files it is made of."""
