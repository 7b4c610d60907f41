#error "core/ is pure: <systemd/sd-event.h> may not be included here (docs/ARCHITECTURE.md)"
