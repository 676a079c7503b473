package dotest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// regionNames are the datacenters as GET /v2/regions names them. Any other
// slug works too and is its own name.
var regionNames = map[string]string{
	"ams3": "Amsterdam 3", "blr1": "Bangalore 1", "fra1": "Frankfurt 1", "lon1": "London 1",
	"nyc1": "New York 1", "nyc2": "New York 2", "nyc3": "New York 3", "sfo2": "San Francisco 2",
	"sfo3": "San Francisco 3", "sgp1": "Singapore 1", "syd1": "Sydney 1", "tor1": "Toronto 1",
}

func (s *Server) listDroplets(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*droplet
	for _, d := range s.droplets {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *droplet) int { return cmp.Compare(a.ID, b.ID) })
	return page(c, "droplets", all, func(d *droplet) any { return s.showDropletLocked(d) })
}

// dropletLocked returns the droplet of the path; nil if there is none.
func (s *Server) dropletLocked(c *call) *droplet {
	id, err := strconv.Atoi(c.r.PathValue("id"))
	if err != nil {
		return nil
	}
	return s.droplets[id]
}

func (s *Server) getDroplet(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dropletLocked(c)
	if d == nil {
		return notFound()
	}
	return ok("droplet", s.showDropletLocked(d))
}

// listDropletActions shows the droplet's own events, not those of its address.
func (s *Server) listDropletActions(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dropletLocked(c)
	if d == nil {
		return notFound()
	}
	found := s.actionsLocked(func(act *action) bool { return act.droplet == d.ID })
	return page(c, "actions", found, func(act *action) any { return showAction(act, resourceOf(act)) })
}

func (s *Server) getAccount(*call) reply {
	return ok("account", map[string]any{
		"droplet_limit": 25, "floating_ip_limit": 3, "reserved_ip_limit": 3, "volume_limit": 100,
		"email": "ops@example.com", "name": "Ops", "uuid": projectID, "email_verified": true,
		"status": "active", "status_message": "",
		"team": map[string]string{"uuid": projectID, "name": "Ops"},
	})
}

func (s *Server) listRegions(c *call) reply {
	slugs := make([]string, 0, len(regionNames))
	for slug := range regionNames {
		slugs = append(slugs, slug)
	}
	slices.Sort(slugs)
	return page(c, "regions", slugs, func(slug string) any { return showRegion(slug) })
}

func showRegion(slug string) *regionJSON {
	return &regionJSON{
		Name: cmp.Or(regionNames[slug], strings.ToUpper(slug)), Slug: slug, Available: true,
		Features: []string{"backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"},
		Sizes:    []string{"s-1vcpu-1gb", "s-1vcpu-2gb", "s-2vcpu-4gb"},
	}
}

// showDropletLocked lists the droplet's reserved IPv4 among its networks, as
// the real API does.
func (s *Server) showDropletLocked(d *droplet) *dropletJSON {
	v4 := []networkV4JSON{
		{IPAddress: d.PublicIPv4.String(), Netmask: "255.255.240.0", Gateway: gateway(d.PublicIPv4), Type: "public"},
		{IPAddress: d.PrivateIPv4.String(), Netmask: "255.255.240.0", Gateway: gateway(d.PrivateIPv4), Type: "private"},
	}
	for _, a := range s.addresses {
		if a.holder == d.ID && a.ip.Is4() {
			v4 = append(v4, networkV4JSON{IPAddress: a.ip.String(), Netmask: "255.255.240.0", Gateway: gateway(a.ip), Type: "public"})
		}
	}
	return &dropletJSON{
		ID: d.ID, Name: d.Name, Memory: 1024, VCPUs: 1, Disk: 25, Locked: d.pending != nil, Status: "active",
		CreatedAt: stamp(d.created), Features: []string{"private_networking", "droplet_agent"},
		BackupIDs: []int{}, SnapshotIDs: []int{}, VolumeIDs: []string{}, Tags: []string{},
		Image: imageJSON{
			ID: 129211873, Name: "12 x64", Type: "base", Distribution: "Debian", Slug: "debian-12-x64", Public: true,
			Regions: []string{"nyc1", "nyc3", "fra1"}, CreatedAt: "2023-06-10T14:08:00Z", MinDiskSize: 10,
			SizeGigabytes: 0.66, Description: "Debian 12 x64", Tags: []string{}, Status: "available",
		},
		Size: sizeJSON{
			Slug: "s-1vcpu-1gb", Memory: 1024, VCPUs: 1, Disk: 25, Transfer: 1, PriceMonthly: 6, PriceHourly: 0.00893,
			Regions: []string{d.Region}, Available: true, Description: "Basic",
		},
		SizeSlug: "s-1vcpu-1gb", Networks: networksJSON{V4: v4, V6: []networkV6JSON{}},
		Region: showRegion(d.Region), VPCUUID: vpcID,
	}
}
