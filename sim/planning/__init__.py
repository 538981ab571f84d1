"""How many devices a load needs: families of fleets, service levels, and the search for the smallest that meets them."""
