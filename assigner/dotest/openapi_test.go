package dotest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// loadVendor reads DigitalOcean's own description of the endpoints that buoy
// touches (from github.com/digitalocean/openapi, references inlined). It is not
// part of this repository.
func loadVendor(t *testing.T) *openapi3.T {
	t.Helper()
	file := os.Getenv("BUOY_DO_OPENAPI")
	if file == "" {
		file = "../../../shared/data/digitalocean-openapi-subset.json"
		if _, err := os.Stat(file); err != nil {
			t.Skipf("DigitalOcean's OpenAPI description is not there (%v); name it in BUOY_DO_OPENAPI to run this test", err)
		}
	}
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The description makes next_backup_window nullable in one branch of its
	// allOf and forgets the other; the API sends null for droplets without backups.
	for _, branch := range dropletSchema(doc).Properties["next_backup_window"].Value.AllOf {
		branch.Value.Nullable = true
	}
	return doc
}

// vendorSchema is what the vendor says about one answer; status 0 is "default".
func vendorSchema(doc *openapi3.T, method, path string, status int) (*openapi3.Schema, error) {
	item := doc.Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		return nil, fmt.Errorf("%s %s is not described", method, path)
	}
	responses := item.GetOperation(method).Responses
	ref := responses.Status(status)
	if ref == nil {
		ref = responses.Default()
	}
	if ref == nil || ref.Value.Content["application/json"] == nil {
		return nil, fmt.Errorf("%s %s: no JSON answer is described for %d", method, path, status)
	}
	return ref.Value.Content["application/json"].Schema.Value, nil
}

// conforms compares one answer with the description. The schema alone accepts
// an empty object, garbage inside droplet and missing headers, so those are
// looked at one by one.
func conforms(doc *openapi3.T, method, path string, a answer, keys ...string) error {
	schema, err := vendorSchema(doc, method, path, a.status)
	if err != nil {
		return err
	}
	if err := visit(schema, a.body); err != nil {
		return err
	}
	for _, h := range []string{"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-request-id"} {
		if a.header.Get(h) == "" {
			return fmt.Errorf("no header %s", h)
		}
	}
	if got := a.header.Get("content-type"); got != "application/json; charset=utf-8" {
		return fmt.Errorf("content-type %q", got)
	}
	objects := []any{a.body}
	for _, key := range keys {
		inner, names, _ := strings.Cut(key, ":")
		object := objects[0]
		if inner != "" {
			object = first(a.at(inner))
			objects = append(objects, object)
		}
		for name := range strings.SplitSeq(names, ",") {
			m, _ := object.(map[string]any)
			if _, there := m[name]; !there {
				return fmt.Errorf("%s has no key %s", key, name)
			}
		}
	}
	for _, object := range objects {
		m, _ := object.(map[string]any)
		if d := m["droplet"]; d != nil {
			if err := visit(dropletSchema(doc), d); err != nil {
				return fmt.Errorf("droplet: %w", err)
			}
		}
	}
	return nil
}

// first is v, or the first element if v is a list.
func first(v any) any {
	if list, ok := v.([]any); ok && len(list) > 0 {
		return list[0]
	}
	return v
}

func visit(schema *openapi3.Schema, v any) error {
	return schema.VisitJSON(v, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation(),
		openapi3.WithStringFormatValidator("ipv4", openapi3.NewIPValidator(true)),
		openapi3.WithStringFormatValidator("ipv6", openapi3.NewIPValidator(false)),
		openapi3.WithStringFormatValidator("uuid", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForUUIDOfRFC4122)),
		openapi3.WithStringFormatValidator("date-time", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringDateTime)))
}

// dropletSchema is the second branch of "null or a droplet".
func dropletSchema(doc *openapi3.T) *openapi3.Schema {
	schema, err := vendorSchema(doc, "GET", "/v2/reserved_ips/{reserved_ip}", http.StatusOK)
	if err != nil {
		panic(err)
	}
	return schema.Properties["reserved_ip"].Value.Properties["droplet"].Value.AnyOf[1].Value
}

const (
	addressKeys = "ip,region,droplet,locked,project_id"
	actionKeys  = "id,status,type,started_at,completed_at,resource_id,resource_type,region,region_slug"
	errorKeys   = ":id,message,request_id"
)

func TestAnswersConformToVendor(t *testing.T) {
	doc := loadVendor(t)
	synctest.Test(t, func(t *testing.T) {
		s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Second)})
		s.AddToken("reader", "ro", "reserved_ip:read")
		if err := s.Steal(ip6, 104); err != nil {
			t.Fatal(err)
		}
		api := s.API()
		check := func(token, method, path, described, body string, status int, keys ...string) answer {
			t.Helper()
			a := askAs(t, api, token, method, path, body)
			wantStatus(t, a, status)
			if err := conforms(doc, method, described, a, keys...); err != nil {
				t.Errorf("%s %s: %v\n%s", method, path, err, a.text)
			}
			return a
		}
		const (
			list     = "/v2/reserved_ips"
			item     = "/v2/reserved_ips/{reserved_ip}"
			itemActs = item + "/actions"
			thisIP   = "/v2/reserved_ips/203.0.113.10"
		)
		floating := strings.NewReplacer("reserved_ip", "floating_ip").Replace

		check("secret", "GET", list, list, "", 200, ":reserved_ips,links,meta", "reserved_ips:"+addressKeys)
		check("secret", "GET", list+"?per_page=1", list, "", 200, ":reserved_ips,links,meta")
		check("secret", "GET", thisIP, item, "", 200, "reserved_ip:"+addressKeys)
		check("secret", "GET", floating(thisIP), floating(item), "", 200, "floating_ip:"+addressKeys)
		check("secret", "GET", "/v2/reserved_ipv6/2001:db8::10", "/v2/reserved_ipv6/{reserved_ipv6}", "", 200,
			"reserved_ipv6:ip,region_slug,reserved_at,droplet")

		started := check("secret", "POST", actions, itemActs, assign102, 201, "action:"+actionKeys)
		id := fmt.Sprintf("/%.0f", started.at("action", "id"))
		check("secret", "GET", thisIP, item, "", 200, "reserved_ip:"+addressKeys) // locked
		for range 2 {                                                             // in progress, completed
			check("secret", "GET", actions, itemActs, "", 200, ":actions,links,meta", "actions:"+actionKeys)
			check("secret", "GET", actions+id, itemActs+"/{action_id}", "", 200, "action:"+actionKeys)
			check("secret", "GET", "/v2/actions"+id, "/v2/actions/{action_id}", "", 200, "action:"+actionKeys)
			time.Sleep(2 * time.Second)
		}
		check("secret", "POST", floating(actions), floating(itemActs), `{"type":"unassign"}`, 201, "action:"+actionKeys)
		time.Sleep(2 * time.Second)
		check("secret", "GET", thisIP, item, "", 200, "reserved_ip:"+addressKeys) // held by nobody

		// The description has no IPv6 actions; one is read where all actions are.
		v6 := askAs(t, api, "secret", "POST", "/v2/reserved_ipv6/2001:db8::10/actions", `{"type":"assign","droplet_id":101}`)
		wantStatus(t, v6, 201)
		v6.status = 200
		if err := conforms(doc, "GET", "/v2/actions/{action_id}", v6, "action:"+actionKeys); err != nil {
			t.Errorf("IPv6 assign: %v\n%s", err, v6.text)
		}
		for range 2 { // in progress, completed
			check("secret", "GET", fmt.Sprintf("/v2/actions/%.0f", v6.at("action", "id")), "/v2/actions/{action_id}", "", 200, "action:"+actionKeys)
			check("secret", "GET", "/v2/reserved_ipv6/2001:db8::10", "/v2/reserved_ipv6/{reserved_ipv6}", "", 200,
				"reserved_ipv6:ip,region_slug,reserved_at,droplet")
			time.Sleep(2 * time.Second)
		}
		wantStatus(t, ask(t, api, "GET", fmt.Sprintf("/v2/reserved_ipv6/2001:db8::10/actions/%.0f", v6.at("action", "id")), ""), 404)

		check("wrong", "GET", list, list, "", 401, errorKeys)
		check("secret", "GET", "/v2/reserved_ips/192.0.2.9", item, "", 404, errorKeys)
		check("ro", "POST", actions, itemActs, assign102, 403, errorKeys)
		check("secret", "POST", actions, itemActs, `{"type":"assign","droplet_id":103}`, 422, errorKeys)
		for _, status := range []int{429, 500, 503} {
			s.Inject(dotest.Fault{Effect: dotest.Refuse, Status: status, Count: 1})
			check("secret", "POST", actions, itemActs, assign102, status, errorKeys)
		}
	})
}

// TestDropletConformsToVendor holds the droplet endpoints, which the subset
// does not describe, against the droplet inside an address.
func TestDropletConformsToVendor(t *testing.T) {
	doc := loadVendor(t)
	s := newCloud(t, dotest.Options{})
	droplets, _ := ask(t, s.API(), "GET", "/v2/droplets", "").at("droplets").([]any)
	if len(droplets) != 4 {
		t.Fatalf("%d droplets", len(droplets))
	}
	for _, d := range append(droplets, ask(t, s.API(), "GET", "/v2/droplets/101", "").at("droplet")) {
		if err := visit(dropletSchema(doc), d); err != nil {
			t.Error(err)
		}
	}
}

// TestVendorCheckFindsFaults is the control: each of these wrong answers must
// be noticed, or the tests above prove nothing.
func TestVendorCheckFindsFaults(t *testing.T) {
	doc := loadVendor(t)
	s := newCloud(t, dotest.Options{})
	const item = "/v2/reserved_ips/{reserved_ip}"
	good := ask(t, s.API(), "GET", "/v2/reserved_ips/203.0.113.10", "")
	check := func(a answer) error { return conforms(doc, "GET", item, a, "reserved_ip:"+addressKeys) }
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(address map[string]any, a *answer){
		"empty object":       func(_ map[string]any, a *answer) { a.body = map[string]any{} },
		"locked is a word":   func(m map[string]any, _ *answer) { m["locked"] = "no" },
		"no locked":          func(m map[string]any, _ *answer) { delete(m, "locked") },
		"no droplet key":     func(m map[string]any, _ *answer) { delete(m, "droplet") },
		"droplet is garbage": func(m map[string]any, _ *answer) { m["droplet"] = map[string]any{"id": "lb1"} },
		"droplet is a list":  func(m map[string]any, _ *answer) { m["droplet"] = []any{} },
		"droplet's size":     func(m map[string]any, _ *answer) { delete(m["droplet"].(map[string]any), "size") },
		"malformed ip":       func(m map[string]any, _ *answer) { m["ip"] = "203.0.113" },
		"malformed uuid":     func(m map[string]any, _ *answer) { m["project_id"] = "1" },
		"region is a slug":   func(m map[string]any, _ *answer) { m["region"] = "nyc3" },
		"region's sizes":     func(m map[string]any, _ *answer) { delete(m["region"].(map[string]any), "sizes") },
		"no rate limit":      func(_ map[string]any, a *answer) { a.header.Del("ratelimit-reset") },
		"not JSON":           func(_ map[string]any, a *answer) { a.header.Set("content-type", "text/html") },
		"error without id":   func(_ map[string]any, a *answer) { a.status, a.body = 404, map[string]any{"message": "no"} },
	} {
		bad := good
		bad.header = good.header.Clone()
		bad.body = nil
		if err := json.Unmarshal([]byte(good.text), &bad.body); err != nil {
			t.Fatal(err)
		}
		spoil(bad.body["reserved_ip"].(map[string]any), &bad)
		if check(bad) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
