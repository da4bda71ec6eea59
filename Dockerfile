# `make image` builds bin/lb and this image: the static binary and nothing else.
#
#   docker run -p 80:80 -v "$PWD/rules.yml:/etc/lb/rules.yml:ro" lb
#
# The process is root inside, because the Engine's socket, which -docker reads,
# belongs to root. It needs none of root's capabilities (--cap-drop ALL), and where
# the socket is not mounted, --user 65534:65534 will do. Ports below 1024 work all
# the same: Docker sets net.ipv4.ip_unprivileged_port_start=0 inside containers
# (since 20.10). With --network host that setting is the host's, so use ports from
# 1024 there.
#
# A Swarm leads requests to a task from its first good check on, so that they are
# frequent; and it kills one that fails them all for half a minute.
FROM scratch
COPY bin/lb /lb
EXPOSE 80
HEALTHCHECK --interval=3s --timeout=3s --start-period=5s --retries=10 CMD ["/lb", "health"]
ENTRYPOINT ["/lb"]
CMD ["-config", "/etc/lb"]
