#error "core/ is pure: <mosquitto.h> may not be included here (docs/ARCHITECTURE.md)"
