package notify

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestURLsThatAreRefused(t *testing.T) {
	const mail = "/?from=buoy@example.com&to=ops@example.com"
	for url, want := range map[string]string{
		"":                                                  "unknown scheme; allowed are smtp",
		"mailto:hushhush@example.com":                       "not a URL",
		"https://hooks.example.com/hushhush":                "unknown scheme",
		"smtp://user:hush%zz@host" + mail:                   "not a URL",
		"smtp://user:hush/hush@host" + mail:                 "not a URL",
		"smtp://" + mail:                                    "host is missing",
		"smtp://host":                                       "from: missing",
		"smtp://host/?from=buoy@example.com":                "to: missing",
		"smtp://host/?from=hushhush&to=a@b.c":               "from: missing or not",
		"smtp://host" + mail + ",hushhush":                  "to: missing or not",
		"smtp://host/hushhush?from=a@b.c&to=a@b.c":          "allowed after the host",
		"smtp://host:0" + mail:                              "port",
		"smtp://host:70000" + mail:                          "port",
		"smtp://user@host" + mail:                           "a user goes with a password",
		"smtp://:hushhush@host" + mail:                      "a user goes with a password",
		"smtp://user:hushhush@host" + mail + "&starttls=no": "readable by all",
		"smtp://host" + mail + "&starttls=hushhush":         "starttls: allowed",
		"smtps://host" + mail + "&starttls=no":              "starttls: allowed",
		"smtp://host" + mail + "&hushhush=1":                "allowed after ?",
		"smtp://host" + mail + "&to=hush@a.b":               "each once",
		"slack://hushhush":                                  "slack://T000/B000/XXXX",
		"slack://T0/B0/hushhush/more":                       "slack://T000/B000/XXXX",
		"generic+https://":                                  "generic+https://host/path",
		"generic+ftp://host/hushhush":                       "unknown scheme",
	} {
		err := Check(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %q and no secret", url, err, want)
		}
	}
}

func TestURLsThatAreTaken(t *testing.T) {
	const mail = "/?from=buoy@example.com&to=ops@example.com"
	for url, name := range map[string]string{
		"smtp://mail.example.com" + mail:                            "smtp://mail.example.com:587",
		"smtp://user:hushhush@[2001:db8::1]:25" + mail:              "smtp://[2001:db8::1]:25",
		"smtps://user:hushhush@mail.example.com" + mail:             "smtps://mail.example.com:465",
		"smtp://127.0.0.1:25" + mail + "&starttls=no":               "smtp://127.0.0.1:25",
		"slack://T0/B0/hushhush":                                    "slack://hooks.slack.com",
		"slack://hook:T0-B0-hushhush@webhook":                       "slack://hooks.slack.com",
		"generic+https://user:hushhush@example.com:8443/hush?h=ush": "generic+https://example.com:8443",
		"generic+http://127.0.0.1:9000":                             "generic+http://127.0.0.1:9000",
	} {
		to, err := parse(url)
		if err != nil || to.name() != name {
			t.Errorf("%s: %v", url, err)
			continue
		}
	}
}

func TestAlertsFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(want string) {
		t.Helper()
		_, err := NewAlerts([]string{"smtp://127.0.0.1:25/?from=a@b.c&to=d@e.f&starttls=no", "file:" + path}, nil)
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Key != "alerts[1]" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refuse(path + ": no such file or directory; write the URLs into it")
	write("slack://T0/B0/hushhush\n", 0o640)
	refuse("mode 0640 lets others read the passwords in it; chmod 600 " + path)
	write("slack://T0/B0/hushhush\n", 0o604)
	refuse("chmod 600 " + path)
	write("\n# nothing\n", 0o600)
	refuse("holds no URL")
	write("# comment\n\nslack://T0/B0/hushhush\nslack://hush\n", 0o600)
	refuse(path + ", line 4: wanted is slack://")
	write(strings.Repeat("#", maxFile+1), 0o600)
	refuse("larger than 16 KiB")

	write("# comment\n\n  slack://T0/B0/hushhush  \r\ngeneric+https://example.com/hush\n", 0o600)
	targets, err := load([]string{"file:" + path})
	if err != nil || len(targets) != 2 || targets[0].name() != "slack://hooks.slack.com" || targets[1].name() != "generic+https://example.com" {
		t.Errorf("%v, %v", targets, err)
	}

	// What systemd's LoadCredential= gives an unprivileged service looks group-readable.
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	refuse("0440")
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(path))
	if _, err := load([]string{"file:" + path}); err != nil {
		t.Error(err)
	}
}
