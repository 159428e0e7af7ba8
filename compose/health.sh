# shellcheck shell=bash
# What scripts/deploy and scripts/test-compose ask of a container. Sourced, never run.

# well CONTAINER: its own health check, asked now: Docker looks every ten seconds only. Checks of one line; one that takes longer than
# Docker would wait is none.
well() {
    local question
    mapfile -t question < <(docker inspect --format '{{range .Config.Healthcheck.Test}}{{println .}}{{end}}' "$1" | sed '/^$/d')
    case "${question[0]:-}" in
        CMD) timeout 10 docker exec "$1" "${question[@]:1}" >/dev/null 2>&1 ;;
        CMD-SHELL) timeout 10 docker exec "$1" sh -c "${question[1]}" >/dev/null 2>&1 ;;
        *) return 1 ;;
    esac
}
