# shellcheck shell=bash
# scripts/deploy with containers: what it does with compose/compose.yaml. Sourced by scripts/deploy.

: "${repository:?}" "${pull:?}"
folder="$repository/compose"
secrets="$folder/secrets"
if [[ -f "$folder/.env" ]]; then
    set -a
    # shellcheck disable=SC1091
    source "$folder/.env"
    set +a
fi
image=${LOVAGE_IMAGE:-lovage:dev}
# The plugin where it is, else the older program.
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi

stack() { "${compose[@]}" --project-name "${COMPOSE_PROJECT_NAME:-lovage}" --file "$folder/compose.yaml" "$@"; }
place() { echo "the containers of $folder/compose.yaml"; }
roles() { echo redis postgres keeper worker beat beat-standby api flower nginx; }

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# secret NAME TEXT: writes it unless it is there. Readable for the users of containers, in a folder that only we can enter.
secret() {
    [[ -s "$secrets/$1" ]] || (umask 022 && printf '%s' "$2" >"$secrets/$1")
}

make_secrets() {
    mkdir -p "$secrets"
    chmod 700 "$secrets"
    secret redis_password "$(random 24)"
    secret postgres_password "$(random 24)"
    secret broker_url "redis://:$(cat "$secrets/redis_password")@redis:6379/0"
    secret database_url "postgresql://lovage:$(cat "$secrets/postgres_password")@postgres:5432/lovage"
    secret secret_key "$(random 32)"
    secret admin_password "$(random 12)"
    secret flower_auth "operator:$(random 12)"
    secret grafana_password "$(random 12)"
    if [[ ! -s "$secrets/tls_certificate" ]]; then
        note "no certificate in compose/secrets: one is made that no browser trusts; put tls_certificate and tls_key there"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=${LOVAGE_HOST:-localhost}" \
            -keyout "$secrets/tls_key" -out "$secrets/tls_certificate" 2>/dev/null
        chmod 644 "$secrets/tls_key" "$secrets/tls_certificate"
    fi
}

check() {
    have docker || fault "docker is missing (Debian: apt-get install docker.io docker-compose)"
    have openssl || fault "openssl is missing (Debian: apt-get install openssl)"
    if have docker && ! docker info >/dev/null 2>&1; then fault "the Docker engine does not answer, or this user may not ask it"; fi
    [[ -n "${LOVAGE_ADMIN_EMAIL:-}" ]] || fault "LOVAGE_ADMIN_EMAIL is not set: put the first administrator's e-mail address into compose/.env"
    local key
    if [[ -s "$secrets/secret_key" ]] && key=$(cat "$secrets/secret_key") && ((${#key} < 32)); then
        fault "compose/secrets/secret_key has fewer than 32 characters"
    fi
    if [[ -n "${LOVAGE_ADMIN_EMAIL:-}" ]] && { have docker-compose || docker compose version >/dev/null 2>&1; }; then
        local told
        told=$(stack config --quiet 2>&1) || fault "compose/compose.yaml with these variables: $told"
    fi
}

prepare() {
    make_secrets
    before=$(docker inspect --format '{{.Image}}' "$(stack ps --quiet worker 2>/dev/null | head -n 1)" 2>/dev/null || true)
    if [[ $pull == yes ]]; then
        step "pulling $image"
        docker pull "$image"
    else
        step "building $image"
        docker build --file "$folder/Dockerfile" --tag "$image" \
            --build-arg "REVISION=$(git -C "$repository" rev-parse HEAD 2>/dev/null || echo unknown)" "$repository"
    fi
    stack build flower
    # All faults of the settings at once, by the program that will read them.
    stack run --rm --no-deps api config check >/dev/null || fail "the settings are refused: nothing was started"
}

save() {
    if [[ -z $(stack ps --quiet postgres 2>/dev/null) ]]; then
        note "nothing runs yet: there is nothing to back up"
        return
    fi
    # From this machine, by the ports on its loopback address.
    DATABASE_URL="postgresql://lovage:$(cat "$secrets/postgres_password")@127.0.0.1:${POSTGRES_PORT:-5432}/lovage" \
        CELERY_BROKER_URL="redis://:$(cat "$secrets/redis_password")@127.0.0.1:${REDIS_PORT:-6379}/0" \
        "$repository/scripts/backup" --keep 10 "$repository/data/backups" >/dev/null
}

migrate() {
    stack up --detach redis postgres
    stack run --rm migrate
}

start() { stack up --detach --no-deps "$1"; }

ready() {
    local container
    container=$(stack ps --quiet "$1")
    [[ -n "$container" && "$(docker inspect --format '{{.State.Health.Status}}' "$container")" == healthy ]]
}

stop_all() { stack down; }
last_lines() { stack logs --tail 30 "$1"; }
in_role() { stack run --rm --no-deps worker "$@"; }
api_url() { echo "http://127.0.0.1:${API_PORT:-5000}"; }
admin_email() { echo "$LOVAGE_ADMIN_EMAIL"; }
admin_password() { cat "$secrets/admin_password"; }

take_back() {
    [[ -n "$before" ]] || return 1
    docker tag "$before" "$image"
}

forget() { docker tag "$image" "${image%%:*}:last-good"; }
