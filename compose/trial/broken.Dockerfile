# A version whose worker dies, for going back from it.
ARG GOOD
FROM ${GOOD}
USER root
RUN mv /usr/local/bin/lovage /usr/local/bin/lovage-good \
    && printf '%s\n' '#!/bin/sh' '[ "$*" != worker ] || { echo "this version is broken" >&2; exit 3; }' 'exec lovage-good "$@"' \
        >/usr/local/bin/lovage \
    && chmod 755 /usr/local/bin/lovage
USER 10001:10001
