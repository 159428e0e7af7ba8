# lovage:trial of a program that was built elsewhere: what the last stage of compose/Dockerfile makes, for a quick look.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY lovage /usr/local/bin/lovage
USER 10001:10001
WORKDIR /run/lovage
ENV LOVAGE_ENV=production \
    LOVAGE_MONITOR_BIND=0.0.0.0:9540
STOPSIGNAL SIGTERM
ENTRYPOINT ["lovage"]
CMD ["worker"]
