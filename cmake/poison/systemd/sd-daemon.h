#error "core/ is pure: <systemd/sd-daemon.h> may not be included here (docs/ARCHITECTURE.md)"
