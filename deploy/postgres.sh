#!/bin/sh
# Starts PostgreSQL in its container with TLS: generates a key and a self-signed certificate beside the data. It does not
# use the image's entry point, so it works with any image that has PostgreSQL's programs.
set -eu
PGDATA=${PGDATA:-/var/lib/postgresql/data}
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)

if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
  mkdir -p "$PGDATA"
  chown postgres:postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups sh "$0"
fi
chmod 700 "$PGDATA"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  umask 077
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  [ "$POSTGRES_DB" = postgres ] ||
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres > /dev/null
fi
if [ ! -s "$PGDATA/server.key" ]; then
  umask 077
  openssl req -new -x509 -days 36500 -nodes -newkey rsa:2048 -subj /CN=postgres \
    -keyout "$PGDATA/server.key" -out "$PGDATA/server.crt" 2> /dev/null
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c ssl=on
