import { campaign } from '../harness/campaign.ts';

campaign('maintained-3');
