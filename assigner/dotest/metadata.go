package dotest

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Metadata is the handler for http://169.254.169.254/ as one droplet sees it:
// the text paths under /metadata/v1/ and all of it in /metadata/v1.json. The
// reserved address appears with the lag of Options.MetadataLag. The droplet may
// be added later; while it does not exist everything answers 404.
//
// Source: https://docs.digitalocean.com/reference/api/metadata/.
func (s *Server) Metadata(dropletID int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata/v1.json", func(w http.ResponseWriter, r *http.Request) {
		m, ok := s.metadata(dropletID)
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(m.document()) // fails only if the client left
	})
	mux.HandleFunc("GET /metadata/v1/{path...}", func(w http.ResponseWriter, r *http.Request) {
		m, _ := s.metadata(dropletID) // without the droplet no path is known
		text, ok := m.texts()[r.PathValue("path")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(text))
	})
	return mux
}

// metadata is what one droplet knows of itself at one moment.
type metadata struct {
	Droplet
	reserved4 netip.Addr // invalid: none
	reserved6 netip.Addr
}

func (s *Server) metadata(dropletID int) (metadata, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.droplets[dropletID]
	if !ok {
		return metadata{}, false
	}
	m := metadata{Droplet: d.Droplet}
	now := time.Now()
	for _, a := range s.addresses {
		switch {
		case a.seenHolder(now) != dropletID:
		case a.ip.Is4():
			m.reserved4 = a.ip
		default:
			m.reserved6 = a.ip
		}
	}
	return m, true
}

// seenHolder is the holder as the metadata service knows it at now.
func (a *address) seenHolder(now time.Time) int {
	for _, c := range slices.Backward(a.seen) {
		if !c.from.After(now) {
			return c.holder
		}
	}
	return 0
}

// texts are the values of the text paths; none for the zero metadata.
func (m metadata) texts() map[string]string {
	if m.ID == 0 {
		return nil
	}
	t := map[string]string{
		"id":                               strconv.Itoa(m.ID),
		"hostname":                         m.Name,
		"region":                           m.Region,
		"tags":                             "",
		"interfaces/public/0/type":         "public",
		"interfaces/public/0/ipv4/address": m.PublicIPv4.String(),
		"interfaces/public/0/ipv4/netmask": "255.255.240.0",
		"interfaces/public/0/ipv4/gateway": gateway(m.PublicIPv4),
		"interfaces/public/0/anchor_ipv4/address": m.AnchorIPv4.String(),
		"interfaces/public/0/anchor_ipv4/netmask": "255.255.0.0",
		"interfaces/public/0/anchor_ipv4/gateway": gateway(m.AnchorIPv4),
		"interfaces/private/0/type":               "private",
		"interfaces/private/0/ipv4/address":       m.PrivateIPv4.String(),
		"interfaces/private/0/ipv4/netmask":       "255.255.240.0",
		"interfaces/private/0/ipv4/gateway":       gateway(m.PrivateIPv4),
		"reserved_ip/ipv4/active":                 strconv.FormatBool(m.reserved4.IsValid()),
		"reserved_ip/ipv6/active":                 strconv.FormatBool(m.reserved6.IsValid()),
		"floating_ip/ipv4/active":                 strconv.FormatBool(m.reserved4.IsValid()),
	}
	if m.reserved4.IsValid() {
		t["reserved_ip/ipv4/ip_address"] = m.reserved4.String()
		t["floating_ip/ipv4/ip_address"] = m.reserved4.String()
	}
	if m.reserved6.IsValid() {
		t["reserved_ip/ipv6/ip_address"] = m.reserved6.String()
	}
	return t
}

// document is v1.json. It says ip_address where the paths say address, and has
// no ip_address at all for an inactive reserved address.
func (m metadata) document() map[string]any {
	network := func(ip netip.Addr, mask string) map[string]string {
		return map[string]string{"ip_address": ip.String(), "netmask": mask, "gateway": gateway(ip)}
	}
	reserved := func(ip netip.Addr) map[string]any {
		if !ip.IsValid() {
			return map[string]any{"active": false}
		}
		return map[string]any{"active": true, "ip_address": ip.String()}
	}
	return map[string]any{
		"droplet_id": m.ID, "hostname": m.Name, "region": m.Region, "tags": nil,
		"interfaces": map[string]any{
			"public": []any{map[string]any{
				"ipv4": network(m.PublicIPv4, "255.255.240.0"), "anchor_ipv4": network(m.AnchorIPv4, "255.255.0.0"),
				"mac": "04:01:2a:0f:2a:01", "type": "public",
			}},
			"private": []any{map[string]any{
				"ipv4": network(m.PrivateIPv4, "255.255.240.0"),
				"mac":  "04:01:2a:0f:2a:02", "type": "private",
			}},
		},
		"floating_ip": map[string]any{"ipv4": reserved(m.reserved4)},
		"reserved_ip": map[string]any{"ipv4": reserved(m.reserved4), "ipv6": reserved(m.reserved6)},
		"dns":         map[string]any{"nameservers": []string{"67.207.67.2", "67.207.67.3"}},
		"features":    map[string]bool{"dhcp_enabled": false},
	}
}
