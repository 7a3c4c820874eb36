/* test_status.c - what servers and proxies answer when it did not work, to errors. */
#include "unit.h"

#include "kube/remote/status.h"

static void test_codes(void **state)
{
    static const struct {
        int http;
        const char *body;
        enum err_code code;
        const char *text, *reason;
        int status;
    } cases[] = {
        {404, "{\"kind\":\"Status\",\"message\":\"pods \\\"x\\\" not found\",\"reason\":\"NotFound\",\"code\":404}",
         ERR_NOT_FOUND, "pods \"x\" not found", "NotFound", 404},
        {409, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"AlreadyExists\",\"code\":409}", ERR_EXISTS, "m",
         "AlreadyExists", 409},
        {409, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Conflict\",\"code\":409}", ERR_CONFLICT, "m", "Conflict", 409},
        {410, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Gone\",\"code\":410}", ERR_GONE, "m", "Gone", 410},
        {410, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Expired\",\"code\":410}", ERR_GONE, "m", "Expired", 410},
        {504, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Timeout\",\"code\":504}", ERR_TIMEOUT, "m", "Timeout", 504},
        {500, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"ServerTimeout\",\"code\":500}", ERR_UNAVAILABLE, "m",
         "ServerTimeout", 500},
        {500, "{\"kind\":\"Status\",\"message\":\"m\",\"code\":500}", ERR_INTERNAL, "m", "", 500},
        {422, "{\"kind\":\"Status\",\"reason\":\"Invalid\",\"code\":422}", ERR_INVALID, "gave no reason", "Invalid", 422},
        {400, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"NeverHeardOf\",\"code\":400}", ERR_BAD_REQUEST, "m",
         "BadRequest", 400},
        {502, "<html>\n<b>bad</b>", ERR_UNAVAILABLE, "the server answered 502: <html> <b>bad</b>", "ServiceUnavailable", 502},
        {503, "", ERR_UNAVAILABLE, "the server answered 503", "ServiceUnavailable", 503},
        {418, "{\"kind\":7}", ERR_BAD_REQUEST, "the server answered 418: {\"kind\":7}", "BadRequest", 418},
        {302, "moved", ERR_BAD_REQUEST, "the server answered 302: moved", "BadRequest", 400},
        {403, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Forbidden\",\"code\":7}", ERR_FORBIDDEN, "m", "Forbidden",
         403},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        assert_int_equal(status_error(cases[i].http, cases[i].body, strlen(cases[i].body), &e), -1);
        if (e.code != cases[i].code || !strstr(err_text(&e), cases[i].text) || strcmp(err_reason(&e), cases[i].reason) != 0 ||
            err_http_status(&e) != cases[i].status)
            fail_msg("%s: %d %d %s \"%s\"", cases[i].body, e.code, err_http_status(&e), err_reason(&e), err_text(&e));
    }
}

static void test_details(void **state)
{
    static const char body[] =
        "{\"kind\":\"Status\",\"metadata\":{\"continue\":\"tok\"},\"message\":\"m\",\"reason\":\"Invalid\",\"details\":{\"name\":"
        "\"n\","
        "\"group\":\"apps\",\"kind\":\"Deployment\",\"uid\":\"u\",\"retryAfterSeconds\":5,\"causes\":[{\"reason\":"
        "\"FieldValueRequired\","
        "\"message\":\"Required value\",\"field\":\"spec.x\"},{\"reason\":\"SomethingNew\",\"message\":\"y\"},{}]},\"code\":422}";
    ERR(e);
    status_error(422, body, sizeof body - 1, &e);
    assert_string_equal(e.subject_name, "n");
    assert_string_equal(e.subject_group, "apps");
    assert_string_equal(e.subject_kind, "Deployment");
    assert_string_equal(e.subject_uid, "u");
    assert_string_equal(e.continue_token, "tok");
    assert_int_equal(e.retry_after_s, 5);
    assert_int_equal(e.n_causes, 3);
    assert_string_equal(e.causes[0].reason, "FieldValueRequired");
    assert_string_equal(e.causes[0].field, "spec.x");
    assert_string_equal(e.causes[0].message, "Required value");
    assert_string_equal(e.causes[1].reason, "");
    assert_null(e.causes[1].field);
}

TEST_GROUP(status, cmocka_unit_test(test_codes), cmocka_unit_test(test_details))
