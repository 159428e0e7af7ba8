# shellcheck shell=bash
# scripts/test-compose: what is looked at in the stack that it brought up. Sourced, never run; each of these ends the run when
# something does not hold.

# shellcheck disable=SC2154 # what scripts/test-compose sets

# stack WORDS...: Compose as scripts/deploy calls it, in the copy.
stack() {
    local compose=(docker-compose)
    ! docker compose version >/dev/null 2>&1 || compose=(docker compose)
    (
        set -a
        # shellcheck disable=SC1091
        source "$copy/compose/.env"
        set +a
        export LOVAGE_BACKUPS="$copy/data/backups"
        LOVAGE_BACKUP_USER="$(id -u):$(id -g)"
        export LOVAGE_BACKUP_USER
        "${compose[@]}" --project-name lovage-trial --file "$copy/compose/compose.yaml" "$@"
    )
}
deploy() { "$copy/scripts/deploy" compose --yes "$@"; }
secret() { cat "$copy/compose/secrets/$1"; }
container() { stack ps --quiet "$1" | head -n 1; }
told() { docker inspect --format "$2" "$(container "$1")"; }
produce() { CELERY_BROKER_URL="redis://:$(secret redis_password)@127.0.0.1:$redis/0" "$python" "$trial/produce.py" "$@"; }
# until_healthy SERVICE...: waits until Docker calls each healthy.
until_healthy() {
    local service end=$((SECONDS + patience))
    for service in "$@"; do
        until [[ $(told "$service" '{{.State.Health.Status}}') == healthy ]]; do
            ((SECONDS < end)) || fail "$service is not healthy" "$(stack logs --no-color --tail 20 "$service" 2>&1)"
            sleep 0.5
        done
    done
}
# until_well SERVICE: the same by its own health check, asked now.
until_well() {
    local end=$((SECONDS + patience))
    until well "$(container "$1")"; do
        ((SECONDS < end)) || fail "$1 is not well" "$(stack logs --no-color --tail 20 "$1" 2>&1)"
        sleep 0.5
    done
}
# sql TEXT: what PostgreSQL answers.
sql() { docker exec "$(container postgres)" psql --username lovage --dbname lovage --no-psqlrc --tuples-only --no-align --command "$1"; }

check_image() {
    local bytes size
    # Of a program that is not optimised the size says nothing.
    size='size not asked,'
    if [[ $quick == no ]]; then
        bytes=$(docker save lovage:trial | gzip --best | wc -c)
        size="$((bytes / 1000000)).$((bytes / 100000 % 10)) MB compressed,"
        ((bytes < 60000000)) || fail "the image has $size 60 MB are allowed"
    fi
    [[ $(docker inspect --format '{{.Config.User}}' lovage:trial) == 10001:10001 ]] || fail "the image runs as another user than 10001"
    local label
    for label in title description source licenses version revision; do
        [[ -n $(docker inspect --format "{{index .Config.Labels \"org.opencontainers.image.$label\"}}" lovage:trial) ]] ||
            fail "the image has no label org.opencontainers.image.$label"
    done
    mkdir -p "$repository/target/compose"
    docker run --rm --entrypoint cat lovage:trial /usr/share/lovage/sbom.cdx.json >"$repository/target/compose/sbom.cdx.json"
    # As many crates as the program has, each with what an auditor asks for.
    local crates
    crates=$("$python" - "$repository/target/compose/sbom.cdx.json" <<'END'
import json
import sys

bom = json.load(open(sys.argv[1], encoding="utf-8"))
assert bom["bomFormat"] == "CycloneDX" and bom["metadata"]["component"]["name"] == "lovage"
public = [part for part in bom["components"] if "purl" in part]
known = {part["bom-ref"] for part in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
assert all(part["hashes"] and part["licenses"] for part in public), "a crate without checksum or licence"
assert all(set(edge["dependsOn"]) <= known for edge in bom["dependencies"]), "an edge to what is not in it"
assert any(part["name"] == "tokio" for part in public), "no tokio"
print(len(bom["components"]))
END
    )
    done_with "the image" "$size user 10001, labels, $crates crates in its list of contents"
}

# No secret is where Docker keeps what it was told; the roles have no rights and no disk.
check_containers() {
    local role all
    mapfile -t all < <(docker ps --all --quiet)
    docker inspect "${all[@]}" >"$work/inspected"
    docker history --no-trunc lovage:trial >>"$work/inspected"
    local name
    for name in redis_password postgres_password broker_url database_url secret_key admin_password flower_auth grafana_password; do
        ! grep -qF -- "$(secret "$name")" "$work/inspected" || fail "Docker knows the secret $name"
    done
    for role in keeper worker beat beat-standby api; do
        [[ $(docker exec "$(container "$role")" id -u) == 10001 ]] || fail "$role does not run as user 10001"
        ! docker exec "$(container "$role")" touch /usr/local/bin/x 2>/dev/null || fail "$role can write to its image"
        [[ $(docker exec "$(container "$role")" sed -n 's/^CapEff:[[:space:]]*//p' /proc/1/status) == 0000000000000000 ]] ||
            fail "$role has capabilities"
    done
    [[ $(docker exec "$(container redis)" id -u) != 0 ]] || fail "Redis runs as root"
    done_with "secrets and rights" "no secret in what Docker keeps; roles without rights, on read-only disks"
}

# fetch WHAT WORDS...: what curl gets; the word before is for the message.
fetch() { curl --silent --show-error --max-time 60 "${@:2}" || fail "$1 does not answer"; }
status() { curl --silent --max-time 60 --output /dev/null --write-out '%{http_code}' "$@" || true; }

# through_nginx PATH WORDS...: curl by the way of nginx. Its own certificate, and no other, is believed.
through_nginx() {
    local way
    way_through_nginx "$1"
    curl "${way[@]}" "${@:2}"
}
# way_through_nginx PATH: sets `way` to curl's words for it.
way_through_nginx() {
    way=(--silent --show-error --cacert "$copy/compose/secrets/tls_certificate" --connect-to "localhost:${https}:127.0.0.1:${https}"
        "https://localhost:$https$1")
}

# member NAMES...: what is under these names or numbers in the JSON of standard input; nothing when there is none.
member() {
    "$python" -c '
import json, sys
found = json.load(sys.stdin)
for name in sys.argv[1:]:
    found = found[int(name)] if isinstance(found, list) else found[name]
print(found)' "$@" 2>/dev/null || true
}

check_outside() {
    step "from outside"
    local site="https://127.0.0.1:$https"
    through_nginx /health/ready --fail --max-time 60 --output /dev/null || fail "nginx does not bring one to the API"
    [[ $(status --insecure "$site/metrics") == 404 ]] || fail "nginx shows the numbers to anybody"
    [[ $(status "http://127.0.0.1:$http/") == 308 ]] || fail "nginx does not send one on to TLS"
    [[ $(status --insecure "$site/flower/") == 401 ]] || fail "Flower opens without an account"
    [[ $(status --insecure --user "$(secret flower_auth)" "$site/flower/") == 200 ]] || fail "Flower does not open with its account"
    : >"$work/ids"
    produce send "$work/ids" 5 >/dev/null
    local count
    count=$(produce count "$work/ids" "$patience") || fail "tasks that Python sent have no result"
    done_with "Python, nginx, Flower" "$count tasks sent by Celery have their results; TLS, redirects and accounts as they should be"

    local down='' end=$((SECONDS + patience))
    until [[ "$down" == 0 ]]; do
        ((SECONDS < end)) || fail "Prometheus finds somebody down" "$(fetch Prometheus "http://127.0.0.1:$prometheus/api/v1/query?query=up")"
        # Five roles; one that is not found is not up either.
        down=$(fetch Prometheus "http://127.0.0.1:$prometheus/api/v1/query?query=5-sum(up)" |
            "$python" -c 'import json, sys; r = json.load(sys.stdin)["data"]["result"]; print(r[0]["value"][1] if r else "none")')
        sleep 1
    done
    done_with "Prometheus" "asks all five roles"
}

# Nobody holds back what a stream tells: it is read while the stream is still open.
check_stream() {
    local token reader end=$((SECONDS + patience)) task
    token=$(printf '{"email": "root@example.org", "password": "%s"}' "$(secret admin_password)" |
        through_nginx /api/v1/auth/login --max-time 60 --header 'content-type: application/json' --data @- | member access_token) || true
    [[ -n "$token" ]] || fail "the administrator cannot log in"
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/bearer"
    (
        way_through_nginx /api/v1/task-runs/stream
        exec curl "${way[@]}" --no-buffer --max-time "$patience" --config "$work/bearer"
    ) >"$work/stream" 2>&1 &
    reader=$!
    produce send "$work/ids" 1 >/dev/null
    task=$(tail -n 1 "$work/ids")
    task=${task%% *}
    until grep -qF "$task" "$work/stream"; do
        kill -0 "$reader" 2>/dev/null || fail "the stream of events ends" "$(tail -n 5 "$work/stream")"
        ((SECONDS < end)) || fail "the stream of events does not tell of $task" "$(tail -n 5 "$work/stream")"
        sleep 0.2
    done
    kill "$reader" 2>/dev/null || true
    wait "$reader" 2>/dev/null || true
    done_with "a stream of events through nginx" "told of the tasks while it was open"
}

# By the way that every mail goes: the API writes it, the keeper sends its task, the worker hands it to the server.
check_mail() {
    local subject='' mails='' end=$((SECONDS + patience))
    through_nginx /api/v1/auth/forgot --fail --max-time 60 --header 'content-type: application/json' --data '{"email": "root@example.org"}' ||
        fail "nobody can forget a password"
    until [[ -n "$subject" ]]; do
        ((SECONDS < end)) || fail "no mail arrives" "$(stack logs --no-color --tail 20 worker 2>&1)"
        sleep 0.5
        mails=$(fetch "the mailbox" "http://127.0.0.1:$mailbox/email")
        subject=$(member 0 subject <<<"$mails")
    done
    [[ "$mails" == *"https://localhost:$https/password"* ]] || fail "the mail has no link to where nginx is reached"
    done_with "a forgotten password" "the mail is in the mailbox: $subject"
}

check_going_back() {
    step "a broken version"
    local good found
    good=$(docker inspect --format '{{.Id}}' lovage:trial)
    docker build --quiet --file "$trial/broken.Dockerfile" --build-arg GOOD=lovage:trial --tag lovage:trial "$trial" >/dev/null
    [[ $(docker inspect --format '{{.Id}}' lovage:trial) != "$good" ]] || fail "the broken image is the good one"
    ! deploy --as-is >"$work/told" 2>&1 || fail "a broken version was deployed"
    grep -q 'this version is broken' "$work/told" || fail "what the broken worker wrote is not shown" "$(tail -n 20 "$work/told")"
    grep -q 'the version before runs again' "$work/told" || fail "it did not go back" "$(tail -n 20 "$work/told")"
    for found in keeper worker beat beat-standby api; do
        [[ $(told "$found" '{{.Image}}') == "$good" ]] || fail "$found is not the version before"
    done
    until_healthy keeper worker beat beat-standby api
    [[ $(docker inspect --format '{{.Id}}' lovage:trial) == "$good" ]] || fail "the image's name is still the broken one's"
    produce send "$work/ids" 1 >/dev/null
    produce count "$work/ids" "$patience" >/dev/null || fail "the version before loses tasks"
    done_with "a version whose worker dies" "its last lines are shown, and the version before runs again"
}

# The process of the container, from outside: what Docker itself is told to kill, it does not start again.
check_kills() {
    local service before pid sent end count
    for service in redis postgres keeper worker beat beat-standby api flower nginx prometheus backup mailbox; do
        step "killing $service"
        before=$(told "$service" '{{.State.StartedAt}}')
        pid=$(told "$service" '{{.State.Pid}}')
        produce send "$work/ids" 6 >"$work/sent" &
        sent=$!
        sleep 2
        as_root kill -KILL "$pid"
        end=$((SECONDS + patience))
        until [[ $(told "$service" '{{.State.StartedAt}}') != "$before" ]]; do
            ((SECONDS < end)) || fail "$service is not started again" "$(stack logs --no-color --tail 20 "$service" 2>&1)"
            sleep 0.5
        done
        until_well "$service"
        wait "$sent" || fail "the producer failed"
        count=$(produce count "$work/ids" "$patience") || fail "tasks are lost after $service was killed"
        done_with "$service killed" "back by itself; all of $count tasks have their result"
    done
    until_healthy redis postgres keeper worker beat beat-standby api flower nginx prometheus backup mailbox
    # What workers did is history, too: the keeper was killed and so was its database.
    end=$((SECONDS + patience))
    until [[ $(in_history) == "$count" ]]; do
        ((SECONDS < end)) || fail "the history has $(in_history) of $count runs as successful"
        sleep 0.5
    done
    done_with "the history" "all $count runs, each successful"
}

# in_history: how many of the tasks sent are there as successful.
in_history() {
    sql "SELECT count(*) FROM task_run WHERE state = 'SUCCESS' AND task_id IN ($(sed "s/ .*//; s/.*/'&'/" "$work/ids" | paste -sd ,))"
}

# Every row of every table, as text, by one program: each that Docker starts takes its time.
rows() {
    docker exec --interactive "$(container postgres)" psql --username lovage --dbname lovage --no-psqlrc --tuples-only --no-align <<'END'
SELECT format('SELECT %L || t::text FROM %I t', tablename || ' ', tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1 \gexec
END
}

check_restore() {
    step "a backup, and nothing else"
    local backup keys missing
    # Nobody writes: what is compared is of one moment.
    stack stop keeper worker beat beat-standby api flower >/dev/null 2>&1
    stack run --rm --no-deps -T backup once >"$work/told"
    backup=$(tail -n 1 "$work/told")
    backup="$copy/data/backups/${backup##*/}"
    rows >"$work/rows-before"
    keys=$(docker exec "$(container redis)" sh -c 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli dbsize')
    stack down --volumes --timeout 10 >/dev/null 2>&1
    [[ -z $(docker volume ls --quiet --filter name=lovage-trial_) ]] || fail "there are volumes left: $(docker volume ls --quiet)"
    deploy --as-is --restore "$backup"
    rows >"$work/rows-after"
    # The roles run by now: rows may have come, and those have changed that say who leads, who is there and what is due. That
    # the administrator is back has been seen by the deployment, which logged in.
    missing=$(grep -vE '^(lease|schedule[a-z_]*|refresh_token|journal_mark|outbox|worker|user) ' "$work/rows-before" | sort | comm -23 - <(sort "$work/rows-after"))
    [[ -z "$missing" ]] || fail "rows are not back" "$(head -n 10 <<<"$missing")"
    produce count "$work/ids" "$patience" >/dev/null || fail "results are not back"
    done_with "a backup into an empty stack" "$(wc -l <"$work/rows-before") rows and $keys keys are back, and it runs"
}
