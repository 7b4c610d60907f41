#include "page.h"

#include "sha256.h"

/* The assembler takes the file in as it is: no generator, no quoting. */
#define FILE_IN(symbol, file)                                                                                               \
	__asm__(".section .rodata\n"                                                                                        \
		".global shoal_page_" #symbol "\n"                                                                          \
		".global shoal_page_" #symbol "_end\n"                                                                      \
		"shoal_page_" #symbol ":\n"                                                                                 \
		".incbin \"" SHOAL_WEB_DIR "/" file "\"\n"                                                                  \
		"shoal_page_" #symbol "_end:\n"                                                                             \
		".byte 0\n"                                                                                                 \
		".previous\n");                                                                                             \
	extern const char shoal_page_##symbol[], shoal_page_##symbol##_end[]

FILE_IN(html, "index.html");
FILE_IN(css, "page.css");
FILE_IN(js, "page.js");
FILE_IN(icon, "icon.svg");

static struct page_file files[] = {
	{ .path = "/", .type = "text/html; charset=utf-8" },
	{ .path = "/page.css", .type = "text/css; charset=utf-8" },
	{ .path = "/page.js", .type = "text/javascript; charset=utf-8" },
	{ .path = "/icon.svg", .type = "image/svg+xml" },
};

static void fill(struct page_file *f, const char *begin, const char *end)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[SHA256_SIZE];

	f->bytes = span_mem(begin, (size_t)(end - begin));
	sha256_of(f->bytes, hash);
	f->etag[0] = f->etag[33] = '"';
	for (size_t i = 0; i < 16; i++) {
		f->etag[1 + 2 * i] = digits[hash[i] >> 4];
		f->etag[2 + 2 * i] = digits[hash[i] & 15];
	}
}

const struct page_file *page_find(struct span path)
{
	if (files[0].bytes.p == NULL) {
		fill(&files[0], shoal_page_html, shoal_page_html_end);
		fill(&files[1], shoal_page_css, shoal_page_css_end);
		fill(&files[2], shoal_page_js, shoal_page_js_end);
		fill(&files[3], shoal_page_icon, shoal_page_icon_end);
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (span_is(path, files[i].path))
			return &files[i];
	return NULL;
}
