#error "core/ is pure: <curl/curl.h> may not be included here (docs/ARCHITECTURE.md)"
