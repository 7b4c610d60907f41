#include <criterion/criterion.h>
#include <stdio.h>

#include "page.h"

Test(page, is_the_files_of_the_tree_byte_for_byte)
{
	static const char *const files[][2] = { { "/", "index.html" }, { "/page.css", "page.css" },
		{ "/page.js", "page.js" }, { "/icon.svg", "icon.svg" } };
	static char bytes[1 << 20];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const struct page_file *f = page_find(span_of(files[i][0]));
		char path[512];
		FILE *in;
		size_t n;

		(void)snprintf(path, sizeof(path), "%s/hub/web/%s", SHOAL_SOURCE_DIR, files[i][1]);
		in = fopen(path, "r");
		cr_assert(in != NULL && f != NULL, "%s", path);
		n = fread(bytes, 1, sizeof(bytes), in);
		(void)fclose(in);
		cr_assert(span_eq(f->bytes, span_mem(bytes, n)), "%s", path);
		cr_assert_eq(strlen(f->etag), 34);
	}
	cr_assert_null(page_find(SPAN("/index.html")));
	cr_assert_null(page_find(SPAN("")));
}

/* The content security policy allows none, and a page that needs one would stand there empty. */
Test(page, has_no_inline_script_or_style)
{
	const struct page_file *f = page_find(SPAN("/"));
	static const char *const bad[] = { "<script>", "<style", " style=", "onclick=", "onload=", "javascript:", "http://",
		"https://" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_null(memmem(f->bytes.p, f->bytes.n, bad[i], strlen(bad[i])), "%s", bad[i]);
}
